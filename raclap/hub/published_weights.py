"""Reading published weights: a state dict and nothing else, its sizes, and what in it does not fit.

Nothing in a file is executed. A weight that is missing, unknown or of another shape stops a conversion, by name.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from raclap.errors import ModelFolderError


class MismatchError(Exception):
    """Names weights that are not as they should be; the file's name is added where the file is known."""


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Args:
        file: `.safetensors`, or what `torch.load(weights_only=True)` reads.

    Raises:
        ModelFolderError: there is no such file, or it holds anything but tensors and their names.
    """
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


def shared_prefix(weights: Mapping[str, Tensor], anchor: str) -> str:
    """What stands before every name (`module.`), told by one that every file of a kind holds.

    Raises:
        MismatchError: no name ends so.
    """
    anchors = [name for name in weights if f".{name}".endswith(f".{anchor}")]
    if not anchors:
        raise MismatchError(f"'{anchor}' is missing")
    return min(anchors, key=len).removesuffix(anchor)


def checked(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """One weight of the expected shape, in the expected type.

    Raises:
        MismatchError: it is missing, of another shape or kind of number, or not finite.
    """
    if name not in weights:
        raise MismatchError(f"'{name}' is missing; expected {shape}")
    value = weights[name]
    if tuple(value.shape) != shape:
        raise MismatchError(f"'{name}' has the shape {tuple(value.shape)}, expected {shape}")
    if value.is_floating_point() != dtype.is_floating_point:
        raise MismatchError(f"'{name}' holds {value.dtype}, expected {dtype}")
    if not bool(torch.isfinite(value).all()):
        raise MismatchError(f"'{name}' holds numbers that are not finite")
    return value.to(dtype).contiguous()


def sizes(weights: Mapping[str, Tensor], name: str, meaning: str) -> tuple[int, ...]:
    """Shape of a weight that tells sizes; `meaning` names its axes.

    Raises:
        MismatchError: it is missing, or has other axes.
    """
    if name not in weights:
        raise MismatchError(f"'{name}' is missing; expected ({meaning})")
    shape = tuple(weights[name].shape)
    if len(shape) != len(meaning.split(", ")) or 0 in shape:
        raise MismatchError(f"'{name}' has the shape {shape}, expected ({meaning})")
    return shape


def count(weights: Mapping[str, Tensor], pattern: str, first: int = 0) -> int:
    """How many numbered parts there are from `first` on.

    Raises:
        MismatchError: one of them is missing.
    """
    before, after = pattern.split("{}")
    numbers = [name[len(before) : len(name) - len(after)] for name in weights if name.startswith(before)]
    last = max((int(n) for n in numbers if n.isdecimal() and pattern.format(n) in weights), default=first)
    for number in range(first, last + 1):
        if pattern.format(number) not in weights:
            raise MismatchError(f"'{pattern.format(number)}' is missing")
    return last + 1 - first


def first_line(error: Exception) -> str:
    """What an error says, without what follows."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]
