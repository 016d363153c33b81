"""Published speech-text models as folders of this package: ParaSpeechCLAP and ParaCLAP.

Both are a wav2vec 2.0-like speech encoder whose output is averaged over time, a BERT-like text encoder read at its
first token, and a residual projection for each; their code saves the plain state dict of the whole.

| published | ours |
|---|---|
| `audio_branch.base.*`, names of transformers | `audio_model.*` |
| `text_branch.base.*`, names of transformers | `text_model.*` |
| `audio_projection.linear1.weight`, `.linear2.weight`, `.layer_norm.*`; `text_projection` likewise | the same |
| `log_logit_scale` (ParaSpeechCLAP), `logit_scale` (ParaCLAP), both the logarithm | `log_logit_scale` |
| `….pos_conv_embed.conv.weight_g`, `.weight_v` (older torch) | `….conv.parametrizations.weight.original0`, `1` |
| `text_branch.base.pooler.dense.*`, `text_branch.base.embeddings.position_ids` | left out |
| `audio_branch.base.masked_spec_embed` | left out |

The text pooler and the mask of SpecAugment take no part in an embedding, and position numbers are counted anew. A
prefix that all names share (`module.`) is taken off. Sizes are read from the shapes, heads taken to be of 64 where
nothing shows their number; all else is as in `clap_catalogue.py`.

Sources: Diwan, Choi and Harwath, "ParaSpeechCLAP", arXiv 2603.28737, and its code; Jing, Triantafyllopoulos and
Schuller, "ParaCLAP", Interspeech 2024, and its code.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.errors import ModelFolderError
from raclap.hub.clap_catalogue import PUBLISHED_CLAPS, PublishedClap
from raclap.hub.export import export
from raclap.hub.published_weights import MismatchError, checked, first_line, read_state_dict
from raclap.provenance import sha256_of

TEMPLATE = Path(__file__).with_name("converted_model_card.md")

_SPEECH, _TEXT = "audio_branch.base.", "text_branch.base."
_CONVOLUTIONS = 7
_HEAD_SIZE = 64
_PREFIXES = ("module.", "model.", "_orig_mod.")  # of data-parallel, wrapping and compiled modules
_LEFT_OUT = (
    f"{_TEXT}pooler.dense.weight",
    f"{_TEXT}pooler.dense.bias",
    f"{_TEXT}embeddings.position_ids",
    f"{_SPEECH}masked_spec_embed",
)
_OTHER_NAMES = {  # published too, by older code or an older torch
    "logit_scale": "log_logit_scale",
    f"{_SPEECH}encoder.pos_conv_embed.conv.weight_g": (
        f"{_SPEECH}encoder.pos_conv_embed.conv.parametrizations.weight.original0"
    ),
    f"{_SPEECH}encoder.pos_conv_embed.conv.weight_v": (
        f"{_SPEECH}encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    ),
}
_LARGEST_LOGIT_SCALE = 1e5
_LISTED = 10  # names in an error


@dataclass(frozen=True)
class ConvertedClap:
    """A published model as one of ours.

    Attributes:
        model: in eval mode, float32.
        processor: features as its code made them, and its tokenizer.
        left_out: published names of weights that take no part in an embedding.
        other_sizes: sizes that are not the published ones: (name, size, published size).
        card: README.md of its folder.
    """

    model: RaClapModel
    processor: RaClapProcessor
    left_out: tuple[str, ...]
    other_sizes: tuple[tuple[str, Any, Any], ...]
    card: str


def convert_clap(kind: str, file: Path, folder: Path, tokenizer: str | None = None) -> ConvertedClap:
    """Reads a published model.

    Args:
        kind: one of `PUBLISHED_CLAPS`.
        file: its state dict: `.safetensors`, or what `torch.load(weights_only=True)` reads.
        folder: where `write_clap` is going to write; looked at first, as reading takes a while.
        tokenizer: folder or Hub name of the tokenizer; None: that of the published text encoder, by name.

    Raises:
        ModelFolderError: the file cannot be read, or holds anything but the model's weights (those that are missing,
            surplus or of another shape are named), or the tokenizer cannot be had or is another model's; or there is
            something at `folder`.
    """
    published = PUBLISHED_CLAPS[kind]
    if not file.is_file():
        raise ModelFolderError(f"{file}: no such file")
    _free(folder)
    source = tokenizer or published.text_name
    words = _load_tokenizer(source)
    weights = read_state_dict(file)
    try:
        weights, left_out = _own_part(weights)
        config, other_sizes = _config(weights, published)
        model = _load(config, weights)
    except (MismatchError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{file}: does not hold the weights of {kind}: {first_line(error)}") from error
    _fit(words, source, config.text_config)
    processor = RaClapProcessor(RaClapFeatureExtractor(normalize=published.normalize), words)
    card = _card(published, kind, file, config.projection_dim, left_out, other_sizes)
    return ConvertedClap(model.eval(), processor, left_out, other_sizes, card)


def write_clap(clap: ConvertedClap, folder: Path) -> None:
    """Writes the folder, whole or not at all; it loads with AutoModel and `trust_remote_code=True` anywhere.

    Raises:
        ModelFolderError: something is there already, or nothing can be written there.
    """
    _free(folder)
    try:
        export(clap.model, clap.processor, folder, clap.card)
    except OSError as error:
        raise ModelFolderError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _free(folder: Path) -> None:
    if folder.exists():
        raise ModelFolderError(f"{folder}: exists; name a folder that is to be made")


def _own_part(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights by published name, the newest where there are several; and the names, as in the file, of the others."""
    prefix = ""
    while weights and (more := [p for p in _PREFIXES if all(n.startswith(prefix + p) for n in weights)]):
        prefix += more[0]
    own, left_out = {}, []
    for name, value in weights.items():
        published = name.removeprefix(prefix)
        if published in _LEFT_OUT:
            left_out.append(name)
            continue
        newest = _OTHER_NAMES.get(published, published)
        # Under both names there would be a choice to make: then the older one is surplus.
        own[published if prefix + newest in weights else newest] = value
    return own, tuple(left_out)


def _config(
    weights: Mapping[str, Tensor], published: PublishedClap
) -> tuple[RaClapConfig, tuple[tuple[str, Any, Any], ...]]:
    """The configuration that the shapes tell, and where it is not the published one."""
    speech = _speech_sizes(weights, published.speech)
    text = _text_sizes(weights, published.text)
    dim = _size(weights, "audio_projection.linear1.weight", 0, published.projection_dim)
    other = [
        (f"{tower}.{field}", size, getattr(known, field))
        for tower, known, found in (("speech", published.speech, speech), ("text", published.text, text))
        for field, size in found.items()
        if size != getattr(known, field)
    ]
    if dim != published.projection_dim:
        other.append(("projection_dim", dim, published.projection_dim))
    scale = _logit_scale(weights)
    config = RaClapConfig(
        audio_config=_with_sizes(published.speech, speech),
        text_config=_with_sizes(published.text, text),
        projection="residual_mlp",
        projection_dim=dim,
        projection_dropout=0.5,
        audio_pooling="last_mean",
        text_pooling="cls",
        logit_scale_init=scale,
        logit_scale_max=max(100.0, scale),
    )
    return config, tuple(other)


def _with_sizes(known: PretrainedConfig, found: Mapping[str, Any]) -> PretrainedConfig:
    config = copy.deepcopy(known)
    for field, size in found.items():
        setattr(config, field, size)
    return config


def _speech_sizes(weights: Mapping[str, Tensor], known: PretrainedConfig) -> dict[str, Any]:
    convolution = _SPEECH + "feature_extractor.conv_layers.{}.conv.{}"
    positions = f"{_SPEECH}encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    hidden = _size(weights, f"{_SPEECH}encoder.layer_norm.weight", 0, known.hidden_size)
    group_width = _size(weights, positions, 1, max(1, hidden // known.num_conv_pos_embedding_groups))
    numbers = range(_CONVOLUTIONS)
    found = {
        "hidden_size": hidden,
        "num_hidden_layers": _count(weights, f"{_SPEECH}encoder.layers.", known.num_hidden_layers),
        "intermediate_size": _size(
            weights,
            f"{_SPEECH}encoder.layers.0.feed_forward.intermediate_dense.weight",
            0,
            known.intermediate_size,
        ),
        "conv_dim": [_size(weights, convolution.format(i, "weight"), 0, known.conv_dim[i]) for i in numbers],
        "conv_kernel": [_size(weights, convolution.format(i, "weight"), 2, known.conv_kernel[i]) for i in numbers],
        "conv_bias": any(convolution.format(i, "bias") in weights for i in numbers),
        "num_conv_pos_embeddings": _size(weights, positions, 2, known.num_conv_pos_embeddings),
        "num_conv_pos_embedding_groups": max(1, hidden // group_width),
    }
    if known.model_type != "wavlm":
        return {**found, "num_attention_heads": _heads(hidden, "speech")}
    bias = f"{_SPEECH}encoder.layers.0.attention.rel_attn_embed.weight"
    return {
        **found,
        "num_attention_heads": _size(weights, bias, 1, known.num_attention_heads),
        "num_buckets": _size(weights, bias, 0, known.num_buckets),
    }


def _text_sizes(weights: Mapping[str, Tensor], known: PretrainedConfig) -> dict[str, Any]:
    table = _TEXT + "embeddings.{}_embeddings.weight"
    hidden = _size(weights, f"{_TEXT}embeddings.LayerNorm.weight", 0, known.hidden_size)
    return {
        "vocab_size": _size(weights, table.format("word"), 0, known.vocab_size),
        "max_position_embeddings": _size(weights, table.format("position"), 0, known.max_position_embeddings),
        "type_vocab_size": _size(weights, table.format("token_type"), 0, known.type_vocab_size),
        "hidden_size": hidden,
        "num_hidden_layers": _count(weights, f"{_TEXT}encoder.layer.", known.num_hidden_layers),
        "num_attention_heads": _heads(hidden, "text"),
        "intermediate_size": _size(
            weights, f"{_TEXT}encoder.layer.0.intermediate.dense.weight", 0, known.intermediate_size
        ),
    }


def _size(weights: Mapping[str, Tensor], name: str, axis: int, known: int) -> int:
    """One size of a weight; the published one where the weight cannot tell, which is then found not to fit."""
    shape = weights[name].shape if name in weights else ()
    return shape[axis] if len(shape) > axis and shape[axis] else known


def _count(weights: Mapping[str, Tensor], before: str, known: int) -> int:
    """How many numbered layers there are, counted to the last: what one in between lacks is then missing."""
    words = {name.removeprefix(before).partition(".")[0] for name in weights if name.startswith(before)}
    numbers = [int(word) for word in words if word.isdecimal()]
    # A number that no file of this many weights can have is a name like any other: surplus.
    return max((number + 1 for number in numbers if number < len(weights)), default=known)


def _heads(hidden: int, tower: str) -> int:
    heads, rest = divmod(hidden, _HEAD_SIZE)
    if rest:
        raise MismatchError(
            f"the {tower} encoder has a hidden size of {hidden}, expected a multiple of {_HEAD_SIZE}, its heads' size"
        )
    return heads


def _logit_scale(weights: Mapping[str, Tensor]) -> float:
    """The scale itself; at its start where it is missing, which is found afterwards."""
    if "log_logit_scale" not in weights:
        return 1 / 0.07
    logarithm, most = float(checked(weights, "log_logit_scale", (), torch.float32)), math.log(_LARGEST_LOGIT_SCALE)
    if not 0.0 <= logarithm <= most:
        raise MismatchError(f"the logit scale is {logarithm:g}, expected its logarithm, between 0 and {most:.1f}")
    return math.exp(logarithm)


def _load(config: RaClapConfig, weights: Mapping[str, Tensor]) -> RaClapModel:
    """The model with the weights, all of which it needs and none of which it lacks."""
    with torch.device("meta"):
        expected = RaClapModel(copy.deepcopy(config)).state_dict()
    names = {own: _published_name(own) for own in expected}
    missing = [name for name in names.values() if name not in weights]
    surplus = sorted(weights.keys() - names.values())
    if missing or surplus:
        raise MismatchError("; ".join(_listed("missing", missing) + _listed("surplus", surplus)))
    renamed, unfit = {}, []
    for own, name in names.items():
        try:
            renamed[own] = checked(weights, name, tuple(expected[own].shape), expected[own].dtype)
        except MismatchError as error:
            unfit.append(str(error))
    if unfit:
        raise MismatchError("; ".join(unfit[:_LISTED] + [f"… {len(unfit)} in all"] * (len(unfit) > _LISTED)))
    return RaClapModel.from_pretrained(None, config=config, state_dict=renamed)


def _published_name(own: str) -> str:
    for ours, theirs in (("audio_model.", _SPEECH), ("text_model.", _TEXT)):
        if own.startswith(ours):
            return theirs + own.removeprefix(ours)
    return own


def _listed(what: str, names: list[str]) -> list[str]:
    """How many names there are and the first of them, if there are any."""
    more = [f"… {len(names) - _LISTED} more"] * (len(names) > _LISTED)
    return [f"{len(names)} {what}: {', '.join(names[:_LISTED] + more)}"] if names else []


def _load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(source)
    except Exception as error:  # without a network, or of what is no tokenizer: each library beneath has its own
        raise ModelFolderError(
            f"tokenizer {source}: cannot be had ({type(error).__name__}); name a folder that holds its files with "
            f"--tokenizer, or fetch them where there is a network: hf download {source} --local-dir FOLDER"
        ) from error


def _fit(tokenizer: PreTrainedTokenizerBase, source: str, text: PretrainedConfig) -> None:
    """Cuts captions to what the tower reads.

    Raises:
        ModelFolderError: it is not the tokenizer of these weights.
    """
    if len(tokenizer) > text.vocab_size or tokenizer.pad_token_id != text.pad_token_id:
        raise ModelFolderError(
            f"tokenizer {source}: has {len(tokenizer)} tokens and pads with {tokenizer.pad_token_id}; the weights "
            f"know {text.vocab_size} and expect {text.pad_token_id}: it belongs to another model"
        )
    # XLM-RoBERTa counts positions from the one after padding's.
    first = text.pad_token_id + 1 if text.model_type == "xlm-roberta" else 0
    tokenizer.model_max_length = min(tokenizer.model_max_length, text.max_position_embeddings - first)
    tokenizer.padding_side = "right"  # the first token is the first of the caption


def _card(
    published: PublishedClap,
    kind: str,
    file: Path,
    projection_dim: int,
    left_out: tuple[str, ...],
    other_sizes: tuple[tuple[str, Any, Any], ...],
) -> str:
    digest = sha256_of(file)
    card = ModelCard.from_template(
        ModelCardData(
            license=published.licence,
            library_name="transformers",
            pipeline_tag="feature-extraction",
            tags=["raclap", "speech", "speaking-style", "zero-shot-audio-classification"],
            base_model=[published.speech_name, published.text_name],
            base_model_relation="finetune",
        ),
        template_path=str(TEMPLATE),
        published=published,
        kind=kind,
        file=file.name,
        digest=digest,
        projection_dim=projection_dim,
        left_out=left_out,
        other_sizes=other_sizes,
    )
    return str(card)
