"""Whole models of three kinds of speech tower in a size that tests can afford, each with another text tower."""

import copy

import torch
from torch import Tensor
from transformers import PretrainedConfig, WavLMConfig

from encoder_families import SMALL, TEXT, WHISPER
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel

BATCH, TOKENS = 7, 7
_WAVLM = WavLMConfig(
    **SMALL, conv_dim=(32, 32, 32), conv_stride=(5, 4, 2), conv_kernel=(10, 4, 2), num_feat_extract_layers=3,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, mask_time_prob=0.0, layerdrop=0.0,
    hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
)  # fmt: skip
_ECAPA = EcapaTdnnConfig(num_mel_bins=20, channels=16, mfa_channels=24, hidden_size=32)
_QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# Name to speech tower, text tower, and length of a clip in samples or log-mel frames.
FAMILIES = {
    "wavlm": (_WAVLM, "bert", 3000),
    "ecapa-tdnn": (_ECAPA, "roberta", 40),
    "whisper": (WHISPER, "modernbert", 200),
}


def family_config(name: str, **fields) -> RaClapConfig:
    """A fresh configuration without dropout: a model writes the attention that it takes into its own."""
    speech, text, _ = FAMILIES[name]
    text_config: PretrainedConfig = copy.deepcopy(TEXT[text])
    for rate, value in _QUIET.items():
        if hasattr(text_config, rate):
            setattr(text_config, rate, value)
    return RaClapConfig(
        audio_config=copy.deepcopy(speech), text_config=text_config, **{"projection_dim": 16, **fields}
    )


def family_model(name: str, **fields) -> RaClapModel:
    """The same random weights each time, in eval mode."""
    torch.manual_seed(0)
    return RaClapModel(family_config(name, **fields)).eval()


def text_inputs() -> dict[str, Tensor]:
    """Captions, one of them padded."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 60, (BATCH, TOKENS), generator=generator)
    mask = torch.ones(BATCH, TOKENS, dtype=torch.long)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def audio_inputs(name: str) -> dict[str, Tensor]:
    """Clips as the tower reads them, two of them padded."""
    generator = torch.Generator().manual_seed(0)
    longest = FAMILIES[name][2]
    lengths = torch.tensor([longest, 2 * longest // 3, longest // 2, *[longest] * (BATCH - 3)])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    if name == "wavlm":
        return {"input_values": torch.randn(BATCH, longest, generator=generator), "audio_attention_mask": mask}
    return {"input_features": torch.randn(BATCH, longest, 20, generator=generator), "audio_attention_mask": mask}
