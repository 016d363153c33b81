"""Published speaker encoders as towers: SpeechBrain's ECAPA-TDNN and WeSpeaker's ResNet-34, weights and features.

`speechbrain-ecapa` reads `embedding_model.ckpt` of spkrec-ecapa-voxceleb. SpeechBrain wraps every convolution and
normalisation in a module whose only child is called `conv` or `norm`; that name is dropped, and the last layer, a
convolution over one frame, becomes linear.

| published | ours |
|---|---|
| `blocks.0.conv.conv.weight` | `blocks.0.conv.weight` |
| `blocks.0.norm.norm.running_mean` | `blocks.0.norm.running_mean` |
| `blocks.1.tdnn1.conv.conv.weight`, `blocks.1.tdnn2.…` likewise | `blocks.1.tdnn1.conv.weight` |
| `blocks.1.res2net_block.blocks.0.conv.conv.weight` | `blocks.1.res2net_block.blocks.0.conv.weight` |
| `blocks.1.se_block.conv1.conv.weight` | `blocks.1.se_block.conv1.weight` |
| `mfa.conv.conv.weight`, `mfa.norm.norm.weight` | `mfa.conv.weight`, `mfa.norm.weight` |
| `asp.tdnn.conv.conv.weight`, `asp.conv.conv.weight` | `asp.tdnn.conv.weight`, `asp.conv.weight` |
| `asp_bn.norm.weight` | `asp_bn.weight` |
| `fc.conv.weight` (E, 2C, 1) | `fc.weight` (E, 2C) |

`wespeaker-resnet34` reads `avg_model.pt` of WeSpeaker's ResNets of basic blocks. The names (`conv1.weight`,
`layer2.0.shortcut.0.weight`, `seg_1.weight`) are ours; `projection.*`, the classifier of training, is left out.

In both a prefix that all names share (`model.`, `module.`) is taken off, and sizes are read from the shapes. What no
shape tells is taken as published: dilations 1, 2, 3, 4, a sampling rate of 16 kHz, and the front end. Sources:
Desplanques et al., Interspeech 2020, with SpeechBrain's recipe; Wang et al., ICASSP 2023.

Shapes: C channels, M mel bins, E embedding size.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from modeling_raclap import EcapaTdnnConfig, EcapaTdnnModel, RaClapFeatureExtractor, ResNet34Config, ResNet34Model
from raclap.errors import ModelFolderError
from raclap.files import replacing_folder

_COUNTER = "num_batches_tracked"  # of batch normalisation; only statistics without momentum read it


@dataclass(frozen=True)
class ConvertedTower:
    """An encoder with published weights.

    Attributes:
        model: in eval mode, float32.
        features: what computes its input.
        left_out: published names of weights that are not part of the encoder.
    """

    model: PreTrainedModel
    features: RaClapFeatureExtractor
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _PublishedEncoder:
    """What is known of a kind of published weights.

    Attributes:
        anchor: a name that every file of this kind holds, after the prefix.
        build: weights by published name to a model of their sizes.
        names: a model to published name → our name.
        features: settings of its front end.
        pointwise: published names of convolutions over one frame that are linear here.
        left_out: beginnings of names that belong to something else than the encoder.
    """

    anchor: str
    build: Callable[[Mapping[str, Tensor]], PreTrainedModel]
    names: Callable[[PreTrainedModel], dict[str, str]]
    features: dict[str, str | float]
    pointwise: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class _MismatchError(Exception):
    """Names a weight that is not as it should be; the file's name is added where the file is known."""


def convert(kind: str, file: Path) -> ConvertedTower:
    """Reads published weights.

    Args:
        kind: one of `PUBLISHED_ENCODERS`.
        file: a state dict: `.safetensors`, or what `torch.load(weights_only=True)` reads.

    Raises:
        ModelFolderError: the file cannot be read, or a weight is missing, unknown or of another shape; the message
            names it and what was expected.
    """
    encoder = PUBLISHED_ENCODERS[kind]
    weights = _read(file)
    try:
        weights, left_out = _without_prefix(weights, encoder)
        model = encoder.build(weights)
        model.load_state_dict(_renamed(model, weights, encoder))
    except (_MismatchError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{file}: does not hold the weights of {kind}: {_first_line(error)}") from error
    features = RaClapFeatureExtractor(features="log_mel", num_mel_bins=model.config.num_mel_bins, **encoder.features)
    return ConvertedTower(model.eval(), features, left_out)


def write_tower(tower: ConvertedTower, folder: Path) -> None:
    """Writes a folder that `model.speech.pretrained` of a recipe can name, whole or not at all.

    Raises:
        ModelFolderError: something is there already, or nothing can be written there.
    """
    if folder.exists():
        raise ModelFolderError(f"{folder}: exists; name a folder that is to be made")
    try:
        with replacing_folder(folder) as beside:
            tower.model.save_pretrained(beside)
            tower.features.save_pretrained(beside)
    except OSError as error:
        raise ModelFolderError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _read(file: Path) -> dict[str, Tensor]:
    """A state dict; nothing in the file is executed."""
    if not file.is_file():
        raise ModelFolderError(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            weights = load_file(file)
        else:
            with warnings.catch_warnings(action="ignore"):  # of what is no such file; the error below says it
                weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no such file can fail in any way, and torch then advises to unpickle it
        raise ModelFolderError(
            f"{file}: cannot be read ({type(error).__name__}); expected .safetensors, or a file of tensors alone that "
            "torch.load(weights_only=True) reads: nothing else is unpickled"
        ) from error
    if not isinstance(weights, Mapping):
        raise ModelFolderError(f"{file}: holds a {type(weights).__name__}, expected tensors by name")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelFolderError(f"{file}: '{name}' is a {type(value).__name__}, expected a tensor and its name")
    return dict(weights)


def _without_prefix(
    weights: Mapping[str, Tensor], encoder: _PublishedEncoder
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's weights by published name, and the names that are left out."""
    anchors = [name for name in weights if f".{name}".endswith(f".{encoder.anchor}")]
    if not anchors:
        raise _MismatchError(f"'{encoder.anchor}' is missing")
    prefix = min(anchors, key=len).removesuffix(encoder.anchor)
    own, left_out = {}, []
    for name, value in weights.items():
        published = name.removeprefix(prefix)
        if published.startswith(encoder.left_out):
            left_out.append(name)
        else:
            own[published] = value
    return own, tuple(left_out)


def _renamed(model: PreTrainedModel, weights: dict[str, Tensor], encoder: _PublishedEncoder) -> dict[str, Tensor]:
    """The weights under our names, each checked against the model's."""
    names, start = encoder.names(model), model.state_dict()
    unknown = [name for name in weights if name not in names]
    if unknown:
        parts = ", ".join(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in names))
        raise _MismatchError(f"'{unknown[0]}' is unknown ({len(unknown)} in all); expected {parts} of its sizes alone")
    renamed = {}
    for published, own in names.items():
        if published.endswith(_COUNTER) and published not in weights:
            renamed[own] = start[own]
            continue
        shape = tuple(start[own].shape) + ((1,) if published in encoder.pointwise else ())
        renamed[own] = _checked(weights, published, shape, start[own].dtype).view(start[own].shape)
    return renamed


def _checked(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """One weight of the expected shape, in the expected type."""
    if name not in weights:
        raise _MismatchError(f"'{name}' is missing; expected {shape}")
    value = weights[name]
    if tuple(value.shape) != shape:
        raise _MismatchError(f"'{name}' has the shape {tuple(value.shape)}, expected {shape}")
    if value.is_floating_point() != dtype.is_floating_point:
        raise _MismatchError(f"'{name}' holds {value.dtype}, expected {dtype}")
    if not bool(torch.isfinite(value).all()):
        raise _MismatchError(f"'{name}' holds numbers that are not finite")
    return value.to(dtype).contiguous()


def _sizes(weights: Mapping[str, Tensor], name: str, meaning: str) -> tuple[int, ...]:
    """Shape of a weight that tells sizes; `meaning` names its axes."""
    if name not in weights:
        raise _MismatchError(f"'{name}' is missing; expected ({meaning})")
    shape = tuple(weights[name].shape)
    if len(shape) != len(meaning.split(", ")) or 0 in shape:
        raise _MismatchError(f"'{name}' has the shape {shape}, expected ({meaning})")
    return shape


def _count(weights: Mapping[str, Tensor], pattern: str, first: int = 0) -> int:
    """How many numbered parts there are from `first` on, none of them missing."""
    before, after = pattern.split("{}")
    numbers = [name[len(before) : len(name) - len(after)] for name in weights if name.startswith(before)]
    last = max((int(n) for n in numbers if n.isdecimal() and pattern.format(n) in weights), default=first)
    for number in range(first, last + 1):
        if pattern.format(number) not in weights:
            raise _MismatchError(f"'{pattern.format(number)}' is missing")
    return last + 1 - first


def _build_ecapa(weights: Mapping[str, Tensor]) -> EcapaTdnnModel:
    channels, mel_bins, first_kernel = _sizes(weights, "blocks.0.conv.conv.weight", "channels, mel bins, kernel")
    groups = "blocks.{}.res2net_block.blocks.0.conv.conv.weight"
    depth = _count(weights, groups, first=1)
    kernels = [_sizes(weights, groups.format(i), "width, width, kernel")[2] for i in range(1, depth + 1)]
    bottleneck = "bottleneck, channels, 1"
    config = EcapaTdnnConfig(
        num_mel_bins=mel_bins,
        channels=channels,
        mfa_channels=_sizes(weights, "mfa.conv.conv.weight", "channels, channels of all blocks, 1")[0],
        kernel_sizes=(first_kernel, *kernels),
        dilations=tuple(range(1, depth + 2)),
        res2net_scale=_count(weights, "blocks.1.res2net_block.blocks.{}.conv.conv.weight") + 1,
        se_channels=_sizes(weights, "blocks.1.se_block.conv1.conv.weight", bottleneck)[0],
        attention_channels=_sizes(weights, "asp.tdnn.conv.conv.weight", bottleneck)[0],
        hidden_size=_sizes(weights, "fc.conv.weight", "embedding, statistics, 1")[0],
        padding="reflect",
    )
    return EcapaTdnnModel(config)


def _speechbrain_names(model: PreTrainedModel) -> dict[str, str]:
    names = {}
    for own in model.state_dict():
        module, _, parameter = own.rpartition(".")
        wrapped = "norm" if module.endswith(("norm", "bn")) else "conv"
        names[f"{module}.{wrapped}.{parameter}"] = own
    return names


def _build_resnet(weights: Mapping[str, Tensor]) -> ResNet34Model:
    channels = _sizes(weights, "conv1.weight", "channels, 1, 3, 3")[0]
    embedding, statistics = _sizes(weights, "seg_1.weight", "embedding, statistics")
    height, rest = divmod(statistics, 2 * 8 * channels)
    if rest or not height:
        raise _MismatchError(
            f"'seg_1.weight' has the shape {(embedding, statistics)}, expected a multiple of {2 * 8 * channels} "
            f"statistics: mean and deviation of {8 * channels} channels at each height"
        )
    # Three of the four stages double the channels and halve the height.
    counts = tuple(_count(weights, f"layer{stage}.{{}}.conv1.weight") for stage in (1, 2, 3, 4))
    return ResNet34Model(
        ResNet34Config(num_mel_bins=8 * height, channels=channels, block_counts=counts, hidden_size=embedding)
    )


def _same_names(model: PreTrainedModel) -> dict[str, str]:
    return {name: name for name in model.state_dict()}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


PUBLISHED_ENCODERS = {
    "speechbrain-ecapa": _PublishedEncoder(
        anchor="mfa.conv.conv.weight",
        build=_build_ecapa,
        names=_speechbrain_names,
        features={"front_end": "speechbrain", "normalize": "utterance", "low_hz": 0.0},
        pointwise=("fc.conv.weight",),
    ),
    "wespeaker-resnet34": _PublishedEncoder(
        anchor="layer1.0.conv1.weight",
        build=_build_resnet,
        names=_same_names,
        features={"front_end": "kaldi", "normalize": "utterance"},
        left_out=("projection.",),
    ),
}
