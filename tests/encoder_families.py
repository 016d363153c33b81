"""Every family of encoders in a size that tests can afford: speech as a recipe configures it, text as folders."""

from pathlib import Path

import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from conftest import make_tokenizer

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WHISPER = {
    "model_type": "whisper", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "vocab_size": 64, "num_mel_bins": 20,
    "max_source_positions": 100, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1,
    "begin_suppress_tokens": None,
}  # fmt: skip
W2V_BERT = {
    "model_type": "wav2vec2-bert", **SMALL, "feature_projection_input_dim": 40, "conv_depthwise_kernel_size": 5,
}  # fmt: skip
AST = {"model_type": "audio-spectrogram-transformer", **SMALL, "max_length": 256, "num_mel_bins": 36}
SPEECH = {
    "whisper": WHISPER,
    "wav2vec2-bert": W2V_BERT,
    "wav2vec2-bert, rotary": {**W2V_BERT, "position_embeddings_type": "rotary"},
    "wav2vec2-bert, relative": {**W2V_BERT, "position_embeddings_type": "relative"},
    "ast": AST,
}
ROBERTA_LIKE = {"pad_token_id": 1, "max_position_embeddings": 34, "vocab_size": 64}
TEXT = {
    "bert": BertConfig(**SMALL, vocab_size=64, max_position_embeddings=32),
    "roberta": RobertaConfig(**SMALL, **ROBERTA_LIKE, type_vocab_size=1),
    "xlm-roberta": XLMRobertaConfig(**SMALL, **ROBERTA_LIKE, type_vocab_size=1),
    "mpnet": MPNetConfig(**SMALL, **ROBERTA_LIKE),
    "deberta-v2": DebertaV2Config(
        **SMALL, vocab_size=64, max_position_embeddings=32, relative_attention=True, position_buckets=8,
        pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False,
        type_vocab_size=0,
    ),
    "modernbert": ModernBertConfig(
        **SMALL, vocab_size=64, max_position_embeddings=32, local_attention=4, global_attn_every_n_layers=2,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    ),
    "distilbert": DistilBertConfig(
        dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=64, max_position_embeddings=32
    ),
    "electra": ElectraConfig(**SMALL, vocab_size=64, max_position_embeddings=32, embedding_size=16),
    "albert": AlbertConfig(**SMALL, vocab_size=64, max_position_embeddings=32, embedding_size=16),
}  # fmt: skip


def save_text(folder: Path, config: PretrainedConfig) -> Path:
    """A tiny text encoder and a tokenizer that knows no limit, and gives token types whether they are read or not."""
    torch.manual_seed(0)
    tower = AutoModel.from_config(config)
    with torch.no_grad():  # biases start at zero, where padding would not show
        for parameter in tower.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    tower.save_pretrained(folder)
    tokenizer = make_tokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        pad_token="[UNK]" if config.pad_token_id == 1 else "[PAD]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return folder
