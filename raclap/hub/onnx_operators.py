"""Operations of torch that its ONNX exporter cannot translate, or translates for one length alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from onnxscript import FLOAT
from onnxscript import opset18 as op
from torch import Tensor
from torch.overrides import TorchFunctionMode


class WindowsByIndex(TorchFunctionMode):
    """While a model is traced: `Tensor.unfold` over the last axis, by indices.

    Torch takes the size of the windows as a plain number, that of the traced batch; WavLM's is the number of frames.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls the function, or what stands in for it."""
        if func is not Tensor.unfold:
            return func(*args, **(kwargs or {}))
        values, _, size, step = args
        windows = (values.shape[-1] - size) // step + 1
        starts = step * torch.arange(windows, device=values.device)
        positions = starts[:, None] + torch.arange(size, device=values.device)
        return values.index_select(-1, positions.flatten()).unflatten(-1, (windows, size))


def translations() -> dict[Callable, Callable]:
    """Operation to what builds its graph, as `torch.onnx.export` takes them as `custom_translation_table`."""
    return {
        torch.ops.aten.hamming_window.periodic: _hamming_window,
        torch.ops.aten._fft_r2c.default: _real_fourier_transform,
    }


def _hamming_window(window_length: int, periodic: bool, device: str = "", pin_memory: bool = False) -> FLOAT:
    """A constant."""
    return _constant(torch.hamming_window(window_length, periodic=periodic).numpy())


def _real_fourier_transform(values: FLOAT, dim: Sequence[int], normalization: int, onesided: bool) -> FLOAT:
    """(..., W) to (..., W / 2 + 1, 2), real and imaginary part, as a product with a matrix.

    ONNX has an operator for it, DFT. Where W is no power of two, as most windows are not, ONNX Runtime takes five
    times as long for that, and log-mel energies are two hundred times less exact.
    """
    window = values.shape[-1]
    angles = np.outer(np.arange(window), np.arange(window // 2 + 1)) * (2 * np.pi / window)
    basis = np.stack([np.cos(angles), -np.sin(angles)], axis=-1).reshape(window, -1)
    shape = [0] * (len(values.shape) - 1) + [window // 2 + 1, 2]  # 0: as it is
    return op.Reshape(op.MatMul(values, _constant(basis.astype(np.float32))), op.Constant(value_ints=shape))


def _constant(values: np.ndarray) -> FLOAT:
    return op.Constant(value=numpy_helper.from_array(values))
