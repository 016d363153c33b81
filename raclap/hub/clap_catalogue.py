"""What is known of the published speech-text models beside their weights: encoders, authors, licences, names.

Sizes are those of the published files; what no weight tells is here too: strides of the convolutions, where the
encoders normalise, epsilons, and how a waveform was prepared. Dropout inside the encoders, which no embedding depends
on, is that of transformers.
"""

from dataclasses import dataclass

from transformers import BertConfig, PretrainedConfig, Wav2Vec2Config, WavLMConfig, XLMRobertaConfig


@dataclass(frozen=True)
class PublishedClap:
    """What is known of a published model.

    Attributes:
        title, authors, code, weights: for the card.
        licence: of the weights, as the Hub writes it; `licence_note` says where that stands and what else applies.
        speech, text: configurations of the two encoders as published.
        speech_name, text_name: Hub names of the encoders it was trained from; the second has the tokenizer.
        projection_dim: D as published.
        normalize: how its code prepared a waveform, see `RaClapFeatureExtractor`.
    """

    title: str
    authors: str
    code: str
    weights: str
    licence: str
    licence_note: str
    speech: PretrainedConfig
    text: PretrainedConfig
    speech_name: str
    text_name: str
    projection_dim: int
    normalize: str


_LARGE_SPEECH_ENCODER = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_dim": [512] * 7,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "layer_norm_eps": 1e-5,
    # SpecAugment fails on clips that are shorter than its masks.
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
}
_BASE_TEXT_ENCODER = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
PUBLISHED_CLAPS = {
    "paraspeechclap": PublishedClap(
        title="ParaSpeechCLAP",
        authors='Anuj Diwan, Eunsol Choi and David Harwath, "ParaSpeechCLAP: A Dual-Encoder Speech-Text Model for '
        'Rich Stylistic Language-Audio Pretraining", arXiv 2603.28737',
        code="https://github.com/ajd12342/paraspeechclap",
        weights="ajd12342/paraspeechclap-intrinsic, -situational and -combined on the Hugging Face Hub",
        licence="mit",
        licence_note="Its repository states the MIT licence for the project. The corpus it was trained on, "
        "ParaSpeechCaps, has terms of its own.",
        speech=WavLMConfig(
            **_LARGE_SPEECH_ENCODER, num_hidden_layers=24, conv_bias=False, num_buckets=320, max_bucket_distance=800
        ),
        text=XLMRobertaConfig(
            **_BASE_TEXT_ENCODER, vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1,
            layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        ),
        speech_name="microsoft/wavlm-large",
        text_name="ibm-granite/granite-embedding-278m-multilingual",
        projection_dim=768,
        normalize="utterance",
    ),
    "paraclap": PublishedClap(
        title="ParaCLAP",
        authors='Xin Jing, Andreas Triantafyllopoulos and Björn Schuller, "ParaCLAP – Towards a general '
        'language-audio model for computational paralinguistic tasks", Interspeech 2024',
        code="https://github.com/KeiKinn/ParaCLAP",
        weights="best.pth.tar of KeiKinn/paraclap on the Hugging Face Hub",
        licence="unknown",
        licence_note="Its code repository states no licence: ask the authors. The speech encoder that it was trained "
        "from is published for non-commercial use alone (CC BY-NC-SA 4.0).",
        speech=Wav2Vec2Config(**_LARGE_SPEECH_ENCODER, num_hidden_layers=12, conv_bias=True),
        text=BertConfig(
            **_BASE_TEXT_ENCODER, vocab_size=30_522, max_position_embeddings=512, type_vocab_size=2,
            layer_norm_eps=1e-12, pad_token_id=0,
        ),
        speech_name="audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        text_name="bert-base-uncased",
        projection_dim=768,
        # Its code hands over the samples as they were read, in training and in use.
        normalize="none",
    ),
}  # fmt: skip
