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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from modeling_raclap import EcapaTdnnConfig, EcapaTdnnModel, RaClapFeatureExtractor, ResNet34Config, ResNet34Model
from raclap.errors import ModelFolderError
from raclap.files import replacing_folder
from raclap.hub.published_weights import (
    MismatchError,
    checked,
    count,
    first_line,
    read_state_dict,
    shared_prefix,
    sizes,
)

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
    weights = read_state_dict(file)
    try:
        weights, left_out = _without_prefix(weights, encoder)
        model = encoder.build(weights)
        model.load_state_dict(_renamed(model, weights, encoder))
    except (MismatchError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{file}: does not hold the weights of {kind}: {first_line(error)}") from error
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


def _without_prefix(
    weights: Mapping[str, Tensor], encoder: _PublishedEncoder
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's weights by published name, and the names that are left out."""
    prefix = shared_prefix(weights, encoder.anchor)
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
        raise MismatchError(f"'{unknown[0]}' is unknown ({len(unknown)} in all); expected {parts} of its sizes alone")
    renamed = {}
    for published, own in names.items():
        if published.endswith(_COUNTER) and published not in weights:
            renamed[own] = start[own]
            continue
        shape = tuple(start[own].shape) + ((1,) if published in encoder.pointwise else ())
        renamed[own] = checked(weights, published, shape, start[own].dtype).view(start[own].shape)
    return renamed


def _build_ecapa(weights: Mapping[str, Tensor]) -> EcapaTdnnModel:
    channels, mel_bins, first_kernel = sizes(weights, "blocks.0.conv.conv.weight", "channels, mel bins, kernel")
    groups = "blocks.{}.res2net_block.blocks.0.conv.conv.weight"
    depth = count(weights, groups, first=1)
    kernels = [sizes(weights, groups.format(i), "width, width, kernel")[2] for i in range(1, depth + 1)]
    bottleneck = "bottleneck, channels, 1"
    config = EcapaTdnnConfig(
        num_mel_bins=mel_bins,
        channels=channels,
        mfa_channels=sizes(weights, "mfa.conv.conv.weight", "channels, channels of all blocks, 1")[0],
        kernel_sizes=(first_kernel, *kernels),
        dilations=tuple(range(1, depth + 2)),
        res2net_scale=count(weights, "blocks.1.res2net_block.blocks.{}.conv.conv.weight") + 1,
        se_channels=sizes(weights, "blocks.1.se_block.conv1.conv.weight", bottleneck)[0],
        attention_channels=sizes(weights, "asp.tdnn.conv.conv.weight", bottleneck)[0],
        hidden_size=sizes(weights, "fc.conv.weight", "embedding, statistics, 1")[0],
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
    channels = sizes(weights, "conv1.weight", "channels, 1, 3, 3")[0]
    embedding, statistics = sizes(weights, "seg_1.weight", "embedding, statistics")
    height, rest = divmod(statistics, 2 * 8 * channels)
    if rest or not height:
        raise MismatchError(
            f"'seg_1.weight' has the shape {(embedding, statistics)}, expected a multiple of {2 * 8 * channels} "
            f"statistics: mean and deviation of {8 * channels} channels at each height"
        )
    # Three of the four stages double the channels and halve the height.
    counts = tuple(count(weights, f"layer{stage}.{{}}.conv1.weight") for stage in (1, 2, 3, 4))
    return ResNet34Model(
        ResNet34Config(num_mel_bins=8 * height, channels=channels, block_counts=counts, hidden_size=embedding)
    )


def _same_names(model: PreTrainedModel) -> dict[str, str]:
    return {name: name for name in model.state_dict()}


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
