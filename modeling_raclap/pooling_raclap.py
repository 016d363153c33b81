"""From hidden states to one vector an item, over real positions only.

Shapes: B items, F frames or tokens, H hidden size, L layers (the encoder's input is one of them).
"""

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer


def masked_mean(hidden_states: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over real positions.

    Args:
        hidden_states: (B, F, H).
        mask: (B, F), 1 where real; None means everywhere.

    Returns:
        (B, H).

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[1, 1, 0]]))
        tensor([[2.]])
    """
    if mask is None:
        return hidden_states.mean(dim=1)
    weights = mask.to(hidden_states)  # on their device, should a model be spread over several
    return torch.einsum("bfh,bf->bh", hidden_states, weights) / weights.sum(dim=1, keepdim=True)


class LayerWeightedMean(nn.Module):
    """z = Σ_l α_l · mean_t h_t^(l), with α learnable.

    Source: RA-CLAP Eqs. (1) and (2).
    """

    def __init__(self, num_layers: int, kind: str):
        super().__init__()
        self.kind = kind
        self.start = 0.0 if kind == "softmax" else 1 / num_layers  # all layers weigh the same
        self.layer_logits = nn.Parameter(torch.full((num_layers,), self.start))

    @property
    def weights(self) -> Tensor:
        """α: (L,)."""
        return torch.softmax(self.layer_logits, dim=0) if self.kind == "softmax" else self.layer_logits

    def forward(self, hidden_states: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """L tensors (B, F, H) and a (B, F) mask to (B, H)."""
        means = torch.stack([masked_mean(layer, mask) for layer in hidden_states])
        return torch.einsum("l,lbh->bh", self.weights.to(means.dtype), means)


class MaskedGroupNorm(nn.GroupNorm):
    """Group normalisation with one channel a group, over real frames only.

    Args:
        norm: the library's, whose weights this one takes over.
    """

    def __init__(self, norm: nn.GroupNorm):
        nn.Module.__init__(self)
        for name in (*norm.__constants__, "weight", "bias"):
            setattr(self, name, getattr(norm, name))

    def forward(self, frames: Tensor, count: Tensor | None = None) -> Tensor:
        """Normalises (B, C, F), of which the first `count` (B, 1, 1) frames are real; None: all."""
        if count is None:
            return super().forward(frames)
        exact = frames.float() if frames.dtype in (torch.float16, torch.bfloat16) else frames
        real = (torch.arange(frames.shape[-1], device=frames.device) < count).to(exact.dtype)
        count = count.to(exact.dtype)
        # Of tensors of this size, the largest of the tower, only one is kept for the backward pass: `centred`.
        exact = exact * real
        mean = exact.sum(-1, keepdim=True) / count
        centred = torch.addcmul(exact, mean, real, value=-1)
        variance = centred.square().sum(-1, keepdim=True) / count
        scale = self.weight[:, None] * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias[:, None], centred, scale).to(frames.dtype)


class MaskedGroupNormConvLayer(GradientCheckpointingLayer):
    """First convolution of wav2vec2-base, HuBERT-base and WavLM-base, normalised over real frames only.

    The library's layer normalises each channel over time, padding included, so that a clip's embedding depends on
    its neighbours. The mask arrives as a second channel of the input (see `with_mask`): no state is kept between
    calls, and parameter names stay those of the library.
    """

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.conv = layer.conv
        self.layer_norm = MaskedGroupNorm(layer.layer_norm)
        self.activation = layer.activation

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, 1, S), or (B, 1, 2, S) with the mask, to (B, C, F)."""
        if hidden_states.dim() == 3:
            return self.activation(self.layer_norm(self.conv(hidden_states)))
        waveform, mask = hidden_states.unbind(dim=2)
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        samples = mask.sum(dim=-1, dtype=torch.float32)  # half precision does not count that far
        count = ((samples - kernel).div(stride, rounding_mode="floor") + 1)[..., None]
        return self.activation(self.layer_norm(self.conv(waveform), count))


def mask_group_norm(audio_model: nn.Module) -> bool:
    """Replaces the tower's time-wise group normalisation by the masked one, in place.

    Returns:
        Whether the tower has such a layer, and so wants its input from `with_mask`.
    """
    layers = getattr(getattr(audio_model, "feature_extractor", None), "conv_layers", None)
    if layers is None or not isinstance(getattr(layers[0], "layer_norm", None), nn.GroupNorm):
        return False
    layers[0] = MaskedGroupNormConvLayer(layers[0])
    return True


def waveform_needs_no_gradient(audio_model: nn.Module) -> None:
    """Ends the backward pass where the trained weights of a wav2vec 2.0-like tower end, in place.

    The library asks for the gradient of the samples in training, for reentrant checkpoints alone; with frozen
    convolutions that would be the whole backward pass through them, and all their activations kept for it.
    """
    encoder = getattr(audio_model, "feature_extractor", None)
    if hasattr(encoder, "_requires_grad"):
        encoder._requires_grad = False


def with_mask(input_values: Tensor, mask: Tensor | None) -> Tensor:
    """Waveforms (B, S) and their mask as the two channels (B, 2, S) that `MaskedGroupNormConvLayer` reads."""
    if mask is None:
        return input_values
    return torch.stack([input_values, mask.to(input_values.dtype)], dim=1)
