"""The two encoders of a model: which class builds them, with which attention, and from which weights."""

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import MODEL_MAPPING, AutoModel, PretrainedConfig, PreTrainedModel

from .configuration_raclap import RaClapConfig
from .encoders_raclap import WhisperTower
from .speaker_encoders_raclap import SPEAKER_ENCODERS
from .wavlm_attention_raclap import WavLMTower

# Encoders that are built here by another class than AutoModel's, by model_type.
_OWN_CLASSES = {**SPEAKER_ENCODERS, "wavlm": WavLMTower, "whisper": WhisperTower}
# Weights that a published encoder may lack: those of parts that are not built here.
_NEVER_TAKEN = ("pooler.", "masked_spec_embed", "adapter.", "intermediate_ffn.")
# The flag by which a model class says that it has a kind of attention, by how the kind's names begin.
_ATTENTION_FLAGS = {
    "sdpa": "_supports_sdpa",
    "flex_attention": "_supports_flex_attn",
    "flash_attention": "_supports_flash_attn",
}

# Modules outside any stack that read their parts' weights or join their parts' outputs.
_JOINS_PARTS = ("ParametrizedConv1d", "AttentiveStatisticsPooling", "ReluProjection", "ResidualProjection")


def build_tower(config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
    """A randomly initialised encoder of the configuration's kind."""
    if config.model_type in _OWN_CLASSES:
        return _OWN_CLASSES[config.model_type]._from_config(config)
    try:
        return AutoModel.from_config(config, **kwargs)
    except TypeError:
        # Encoders without a pooling layer do not know the argument that would leave it out.
        return AutoModel.from_config(config)


def load_tower(source: str, dtype: torch.dtype = torch.float32, **overrides: Any) -> PreTrainedModel:
    """A pretrained encoder from the Hub or a folder, some fields of its configuration changed.

    Raises:
        ValueError: its configuration has no such field, or the weights lack some of the encoder's.
    """
    fields = PretrainedConfig.get_config_dict(source)[0]
    unknown = [name for name in overrides if name not in fields and name != "attn_implementation"]
    if unknown:
        raise ValueError(f"the configuration of {source} has no field '{unknown[0]}'")
    model_class = _OWN_CLASSES.get(fields.get("model_type"), AutoModel)
    tower, loading = model_class.from_pretrained(source, dtype=dtype, output_loading_info=True, **overrides)
    lacking = sorted(name for name in loading["missing_keys"] if not name.startswith(_NEVER_TAKEN))
    if lacking:
        raise ValueError(f"the weights of {source} lack '{lacking[0]}'")
    return tower


def take_weights(tower: PreTrainedModel, source: PreTrainedModel) -> None:
    """Copies weights by name. The source may hold more (a pooling layer, a mask embedding), never less.

    Raises:
        ValueError: a weight of the tower is missing in the source or has another shape.
    """
    weights = source.state_dict()
    missing = [name for name in tower.state_dict() if name not in weights]
    if missing:
        raise ValueError(f"{source.name_or_path or type(source).__name__}: no weight '{missing[0]}'")
    tower.load_state_dict({name: weights[name] for name in tower.state_dict()})


def has_attention(tower: PreTrainedModel | type[PreTrainedModel], implementation: str) -> bool:
    """Whether an encoder has an implementation of attention; names that nobody declares are left to the library."""
    flags = [flag for kind, flag in _ATTENTION_FLAGS.items() if implementation.startswith(kind)]
    return all(getattr(tower, flag, False) for flag in flags)


def drop_unknown_attention(config: RaClapConfig) -> None:
    """Lets an encoder take its own default where it does not have what was asked of the whole model, in place."""
    for tower in (config.audio_config, config.text_config):
        asked = tower._attn_implementation
        if asked is not None and asked == config._attn_implementation and not has_attention(_class_of(tower), asked):
            tower._attn_implementation = None


def _class_of(config: PretrainedConfig) -> type[PreTrainedModel]:
    """The class that builds an encoder of the configuration's kind."""
    known = _OWN_CLASSES.get(config.model_type) or MODEL_MAPPING.get(type(config), PreTrainedModel)
    return known[0] if isinstance(known, tuple) else known


def held_whole(model: nn.Module) -> list[str]:
    """Classes of the modules that one device must hold whole when a model is spread over several.

    Many encoders declare none of theirs. Those are the layers of every stack, whose shortcuts join their ends, and
    what adds or multiplies the outputs of parts that lie beside each other.
    """
    stacks = (module for module in model.modules() if type(module) is nn.ModuleList)
    layers = {type(layer).__name__ for stack in stacks for layer in stack if type(layer) is not nn.ModuleList}
    others = {type(module).__name__ for module in model.modules()}
    return sorted(layers | {name for name in others if name in _JOINS_PARTS or name.endswith("Embeddings")})


@torch.no_grad()
def start_weight_norm(model: nn.Module) -> None:
    """Gives random weights to weight-normalised convolutions whose parts a file lacked, in place.

    The library writes to the product of the two parts, which is computed and forgotten; the parts stay as the memory
    happened to be. The spread is the library's for the positional convolutions of wav2vec 2.0.
    """
    for module in model.modules():
        if not (isinstance(module, nn.Conv1d) and parametrize.is_parametrized(module, "weight")):
            continue
        if not all(getattr(part, "_is_hf_initialized", False) for part in module.parametrizations.weight.parameters()):
            spread = 2 * (module.kernel_size[0] * module.in_channels) ** -0.5
            module.weight = torch.empty_like(module.weight).normal_(std=spread)
