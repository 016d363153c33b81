"""Speaker encoders as PreTrainedModels: ECAPA-TDNN.

Everything is aware of the mask, so that a clip's embedding does not depend on the clips it was padded with.

Shapes: B clips, F frames, M mel bins, C channels, E embedding size.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_raclap import EcapaTdnnConfig

_EPSILON = 1e-12


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose training statistics see real frames only; the same as its parent in eval mode."""

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalises (B, C, F) with a (B, 1, F) mask; None means that every frame is real."""
        if mask is None or not self.training:
            return super().forward(hidden_states)
        real = mask[:, 0].bool()
        frames = hidden_states.transpose(1, 2)
        self.num_batches_tracked.add_(1)
        normalised = batch_norm(
            frames[real],
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            True,
            self.momentum,
            self.eps,
        )
        return frames.masked_scatter(real[..., None], normalised).transpose(1, 2)


class TdnnBlock(nn.Module):
    """Dilated convolution over time, ReLU, batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int):
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation, padding="same")
        self.norm = MaskedBatchNorm(out_channels)

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C_in, F) to (B, C_out, F). Padding is zeroed first: what the kernel reaches there must be nothing."""
        if mask is not None and self.conv.kernel_size[0] > 1:
            hidden_states = hidden_states * mask
        return self.norm(torch.relu(self.conv(hidden_states)), mask)


class Res2NetBlock(nn.Module):
    """Groups of channels pass one after another, each adding the result of the one before it."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, scale: int):
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(TdnnBlock(width, width, kernel_size, dilation) for _ in range(scale - 1))
        self.scale = scale

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, F) to (B, C, F)."""
        first, *groups = hidden_states.chunk(self.scale, dim=1)
        outputs = [first]
        for index, (block, group) in enumerate(zip(self.blocks, groups, strict=True)):
            outputs.append(block(group if index == 0 else group + outputs[-1], mask))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from its mean over time."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, bottleneck, 1)
        self.conv2 = nn.Conv1d(bottleneck, channels, 1)

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, F) to (B, C, F)."""
        mean = _weighted_mean(hidden_states, _frame_weights(hidden_states, mask))[..., None]
        return hidden_states * torch.sigmoid(self.conv2(torch.relu(self.conv1(mean))))


class SeRes2NetBlock(nn.Module):
    """Pointwise, Res2Net, pointwise, squeeze-and-excitation, with a shortcut."""

    def __init__(self, config: EcapaTdnnConfig, kernel_size: int, dilation: int):
        super().__init__()
        self.tdnn1 = TdnnBlock(config.channels, config.channels, 1, 1)
        self.res2net_block = Res2NetBlock(config.channels, kernel_size, dilation, config.res2net_scale)
        self.tdnn2 = TdnnBlock(config.channels, config.channels, 1, 1)
        self.se_block = SqueezeExcitation(config.channels, config.se_channels)

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, F) to (B, C, F)."""
        inner = self.tdnn2(self.res2net_block(self.tdnn1(hidden_states, mask), mask), mask)
        return hidden_states + self.se_block(inner, mask)


class AttentiveStatisticsPooling(nn.Module):
    """Mean and standard deviation over time, weighted by an attention that sees the utterance's own statistics."""

    def __init__(self, channels: int, attention_channels: int):
        super().__init__()
        self.tdnn = TdnnBlock(3 * channels, attention_channels, 1, 1)
        self.conv = nn.Conv1d(attention_channels, channels, 1)

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, F) to (B, 2C)."""
        context = _statistics(hidden_states, _frame_weights(hidden_states, mask))
        context = context[..., None].expand(-1, -1, hidden_states.shape[-1])
        scores = self.conv(torch.tanh(self.tdnn(torch.cat([hidden_states, context], dim=1), mask)))
        if mask is not None:
            scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        return _statistics(hidden_states, torch.softmax(scores, dim=-1))


class EcapaTdnnModel(PreTrainedModel):
    """ECAPA-TDNN: log-mel frames to one embedding an utterance.

    Source: Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN: Emphasized Channel Attention, Propagation and
    Aggregation in TDNN Based Speaker Verification", Interspeech 2020; layer names as in SpeechBrain's recipe.
    Deviation: convolutions pad with zeros, not by reflection, so that a clip in a padded batch equals the clip alone.
    """

    config_class = EcapaTdnnConfig
    base_model_prefix = "ecapa_tdnn"
    main_input_name = "input_features"
    input_modalities = ("audio",)
    _no_split_modules = ["SeRes2NetBlock"]  # noqa: RUF012

    def __init__(self, config: EcapaTdnnConfig):
        super().__init__(config)
        first_kernel, *kernels = config.kernel_sizes
        first_dilation, *dilations = config.dilations
        self.blocks = nn.ModuleList(
            [TdnnBlock(config.num_mel_bins, config.channels, first_kernel, first_dilation)]
            + [SeRes2NetBlock(config, kernel, d) for kernel, d in zip(kernels, dilations, strict=True)]
        )
        self.mfa = TdnnBlock(len(kernels) * config.channels, config.mfa_channels, 1, 1)
        self.asp = AttentiveStatisticsPooling(config.mfa_channels, config.attention_channels)
        self.asp_bn = nn.BatchNorm1d(2 * config.mfa_channels)
        self.fc = nn.Linear(2 * config.mfa_channels, config.hidden_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> BaseModelOutputWithPooling:
        """Embeds a batch.

        Args:
            input_features: (B, F, M) log-mel frames.
            attention_mask: (B, F), 1 where real; None means that every frame is real.

        Returns:
            `last_hidden_state` (B, F, C_mfa) and `pooler_output` (B, E).
        """
        mask = None
        if attention_mask is not None and not bool(attention_mask.all()):
            mask = attention_mask[:, None].to(input_features.dtype)
        hidden_states = self.blocks[0](input_features.transpose(1, 2), mask)
        outputs = []
        for block in self.blocks[1:]:
            hidden_states = block(hidden_states, mask)
            outputs.append(hidden_states)
        hidden_states = self.mfa(torch.cat(outputs, dim=1), mask)
        pooled = self.fc(self.asp_bn(self.asp(hidden_states, mask)))
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states.transpose(1, 2), pooler_output=pooled)


def _frame_weights(hidden_states: Tensor, mask: Tensor | None) -> Tensor:
    """(B, 1, F) weights that sum to one over the real frames."""
    if mask is None:
        return hidden_states.new_full((1, 1, hidden_states.shape[-1]), 1 / hidden_states.shape[-1])
    return mask / mask.sum(dim=-1, keepdim=True)


def _weighted_mean(hidden_states: Tensor, weights: Tensor) -> Tensor:
    return (hidden_states * weights).sum(dim=-1)


def _statistics(hidden_states: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean and standard deviation over time: (B, C, F) to (B, 2C)."""
    mean = _weighted_mean(hidden_states, weights)
    variance = _weighted_mean((hidden_states - mean[..., None]).square(), weights)
    return torch.cat([mean, variance.clamp(min=_EPSILON).sqrt()], dim=1)
