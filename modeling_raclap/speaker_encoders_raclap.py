"""Speaker encoders as PreTrainedModels: ECAPA-TDNN and ResNet-34.

Everything is aware of the mask, so that a clip's embedding does not depend on the clips it was padded with.

Shapes: B clips, F frames, M mel bins, C channels, E embedding size.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_ends
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_raclap import EcapaTdnnConfig, ResNet34Config

_EPSILON = 1e-12
_RESNET_EPSILON = 1e-7  # WeSpeaker's, under the root of its pooling
_RESNET_STRIDES = (1, 2, 2, 2)


class _RealFramesOnly:
    """Batch normalisation whose training statistics see real frames only; the same as its parent in eval mode."""

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalises (B, C, F) or (B, C, M, F), frames last; None means that every frame is real.

        Args:
            hidden_states: to normalise.
            mask: (B, 1, F) or (B, 1, 1, F), 1 where real.
        """
        if mask is None or not self.training:
            return super().forward(hidden_states)
        self.num_batches_tracked.add_(1)
        # Sums over all frames under the mask: picking the real ones would make the host wait for their number.
        with torch.autocast(hidden_states.device.type, enabled=False):
            dtype = torch.promote_types(hidden_states.dtype, torch.float32)
            values, mask = hidden_states.to(dtype), mask.to(dtype)
            count = mask.sum() * (values[0, 0].numel() // values.shape[-1])
            mean = _channel_sums(values, mask) / count
            variance = _channel_sums((values - _per_channel(mean.detach(), values)).square(), mask) / count
            self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
            scale = self.weight * torch.rsqrt(variance + self.eps)
            shift = self.bias - mean * scale
            normalised = torch.addcmul(_per_channel(shift, values), values, _per_channel(scale, values))
        return normalised.to(hidden_states.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class MaskedBatchNorm(_RealFramesOnly, nn.BatchNorm1d):
    """For (B, C, F)."""


class MaskedBatchNorm2d(_RealFramesOnly, nn.BatchNorm2d):
    """For (B, C, M, F)."""


class TdnnBlock(nn.Module):
    """Dilated convolution over time, ReLU, batch normalisation.

    Beyond a clip's ends the kernel sees nothing (`zeros`) or the clip mirrored there (`reflect`), never a batch's
    padding.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int, padding: str = "zeros"):
        super().__init__()
        self.reflects = padding == "reflect" and kernel_size > 1
        own_padding = "valid" if self.reflects else "same"
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation, padding=own_padding)
        self.norm = MaskedBatchNorm(out_channels)

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C_in, F) to (B, C_out, F)."""
        if self.reflects:
            hidden_states = _reflected(hidden_states, mask, self.conv.dilation[0] * (self.conv.kernel_size[0] - 1))
        elif self.conv.kernel_size[0] > 1:
            hidden_states = _zeroed(hidden_states, mask)
        return self.norm(torch.relu(self.conv(hidden_states)), mask)


class Res2NetBlock(nn.Module):
    """Groups of channels pass one after another, each adding the result of the one before it."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, scale: int, padding: str):
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(TdnnBlock(width, width, kernel_size, dilation, padding) for _ in range(scale - 1))
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
        self.res2net_block = Res2NetBlock(config.channels, kernel_size, dilation, config.res2net_scale, config.padding)
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
    Aggregation in TDNN Based Speaker Verification", Interspeech 2020; layer names as in SpeechBrain's recipe. With
    `padding: reflect` SpeechBrain's published weights give the embeddings that they give there for a clip alone.
    Deviation: a clip in a padded batch equals the clip alone. `zeros`, the default, is not what SpeechBrain does.
    """

    config_class = EcapaTdnnConfig
    base_model_prefix = "ecapa_tdnn"
    main_input_name = "input_features"
    input_modalities = ("audio",)
    _no_split_modules = ["SeRes2NetBlock"]  # noqa: RUF012
    # Without attention, any implementation of it will do.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: EcapaTdnnConfig):
        super().__init__(config)
        first_kernel, *kernels = config.kernel_sizes
        first_dilation, *dilations = config.dilations
        self.blocks = nn.ModuleList(
            [TdnnBlock(config.num_mel_bins, config.channels, first_kernel, first_dilation, config.padding)]
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
        self,
        input_features: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **_: object,
    ) -> BaseModelOutputWithPooling:
        """Embeds a batch.

        Args:
            input_features: (B, F, M) log-mel frames.
            attention_mask: (B, F), 1 where real; None means that every frame is real.
            output_hidden_states: also return what each block gives; None: as configured.

        Returns:
            `last_hidden_state` (B, F, C_mfa), `pooler_output` (B, E) and, if asked for, `hidden_states` (B, F, C).
        """
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        hidden_states = input_features.transpose(1, 2)
        mask = _feature_mask(attention_mask, hidden_states)
        states = [self.blocks[0](hidden_states, mask)]
        for block in self.blocks[1:]:
            states.append(block(states[-1], mask))
        hidden_states = self.mfa(torch.cat(states[1:], dim=1), mask)
        pooled = self.fc(self.asp_bn(self.asp(hidden_states, mask)))
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states.transpose(1, 2),
            pooler_output=pooled,
            hidden_states=tuple(state.transpose(1, 2) for state in states) if wants_states else None,
        )


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; the first may halve both the mel bins and the frames."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = MaskedBatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride, bias=False))
            self.shortcut.append(MaskedBatchNorm2d(channels))

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, C_in, M, F) and its mask to (B, C_out, M / stride, F / stride) and its mask, sizes rounded up."""
        stride = self.conv1.stride[0]
        # A kernel of 3 with one frame of padding is centred on every stride-th frame.
        strided = mask if mask is None else mask[..., ::stride]
        inner = torch.relu(self.bn1(self.conv1(_zeroed(hidden_states, mask)), strided))
        inner = self.bn2(self.conv2(_zeroed(inner, strided)), strided)
        if self.shortcut:
            convolution, norm = self.shortcut
            hidden_states = norm(convolution(hidden_states), strided)
        return torch.relu(inner + hidden_states), strided


class ResNet34Model(PreTrainedModel):
    """ResNet-34 on log-mel frames as an image: one embedding an utterance.

    Source: WeSpeaker's ResNet34 (Wang et al., "WeSpeaker: A Research and Production Oriented Speaker Embedding
    Learning Toolkit", ICASSP 2023); parameter names are its own.
    Deviation: padding is zeroed before every convolution and left out of the statistics, so that a clip in a padded
    batch equals the clip alone; of a single frame the standard deviation is zero, not undefined.
    """

    config_class = ResNet34Config
    base_model_prefix = "resnet34"
    main_input_name = "input_features"
    input_modalities = ("audio",)
    _no_split_modules = ["BasicBlock"]  # noqa: RUF012
    # Without attention, any implementation of it will do.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: ResNet34Config):
        super().__init__(config)
        self.conv1 = nn.Conv2d(1, config.channels, 3, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm2d(config.channels)
        width, height = config.channels, config.num_mel_bins
        for stage, (count, stride) in enumerate(zip(config.block_counts, _RESNET_STRIDES, strict=True)):
            blocks = nn.ModuleList()
            for index in range(count):
                channels = config.channels * 2**stage
                blocks.append(BasicBlock(width, channels, stride if index == 0 else 1))
                width = channels
            self.add_module(f"layer{stage + 1}", blocks)
            height = -(-height // stride)
        self.seg_1 = nn.Linear(2 * width * height, config.hidden_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_features: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **_: object,
    ) -> BaseModelOutputWithPooling:
        """Embeds a batch.

        Args:
            input_features: (B, F, M) log-mel frames.
            attention_mask: (B, F), 1 where real; None means that every frame is real.
            output_hidden_states: also return what each stage gives; None: as configured.

        Returns:
            `last_hidden_state` (B, F / 8, 8C · M / 8), sizes rounded up, `pooler_output` (B, E) and, if asked for,
            `hidden_states`: (B, F, C · M) after the stem, then one a stage.
        """
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        image = input_features.transpose(1, 2)[:, None]
        mask = _feature_mask(attention_mask, image)
        hidden_states = torch.relu(self.bn1(self.conv1(_zeroed(image, mask)), mask))
        states = [hidden_states] if wants_states else []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                hidden_states, mask = block(hidden_states, mask)
            if wants_states:
                states.append(hidden_states)
        frames = hidden_states.flatten(1, 2)
        pooled = self.seg_1(_sample_statistics(frames, mask if mask is None else mask[:, 0]))
        return BaseModelOutputWithPooling(
            last_hidden_state=frames.transpose(1, 2),
            pooler_output=pooled,
            hidden_states=tuple(state.flatten(1, 2).transpose(1, 2) for state in states) or None,
        )


SPEAKER_ENCODERS = {model.config_class.model_type: model for model in (EcapaTdnnModel, ResNet34Model)}


def _feature_mask(attention_mask: Tensor | None, features: Tensor) -> Tensor | None:
    """(B, F) as (B, 1, F) or (B, 1, 1, F), for features (B, C, F) or (B, C, M, F); None if every frame is real.

    Whether every frame is real is asked on the CPU only: on a GPU the host would have to wait for the answer. A graph
    that is made once for all batches cannot hold the answer for one.
    """
    if attention_mask is None:
        return None
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if not is_traced and attention_mask.device.type == "cpu" and bool(attention_mask.all()):
        return None
    ones = (1,) * (features.dim() - 2)
    return attention_mask.view(attention_mask.shape[0], *ones, -1).to(features.dtype)


def _zeroed(hidden_states: Tensor, mask: Tensor | None) -> Tensor:
    """Padding as nothing: what a kernel reaches there must not count."""
    return hidden_states if mask is None else hidden_states * mask.to(hidden_states.dtype)


def _reflected(hidden_states: Tensor, mask: Tensor | None, reach: int) -> Tensor:
    """(B, C, F) to (B, C, F + reach): each clip mirrored at its own first and last frame, which are not repeated.

    A clip that is shorter than the part to be mirrored is mirrored back and forth, and one of a single frame repeats
    it, as `numpy.pad` does; SpeechBrain refuses those. What comes after a clip's mirrored end is nothing to rely on.
    """
    before, after, frames = reach // 2, reach - reach // 2, hidden_states.shape[-1]
    if mask is None and frames > after:
        return pad_ends(hidden_states, (before, after), mode="reflect")
    positions = torch.arange(-before, frames + after, device=hidden_states.device)[None, None]
    last = frames - 1 if mask is None else (mask != 0).sum(dim=-1, keepdim=True) - 1
    period = torch.as_tensor(2 * last, device=hidden_states.device).clamp(min=1)
    steps = positions % period
    source = torch.minimum(steps, period - steps)
    return hidden_states.gather(2, source.expand(*hidden_states.shape[:2], -1))


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as what (B, C, F) or (B, C, M, F) can be multiplied by."""
    return values.view(-1, *(1,) * (like.dim() - 2))


def _channel_sums(hidden_states: Tensor, mask: Tensor) -> Tensor:
    """Sums over clips and real frames (and mel bins): (B, C, F) or (B, C, M, F) to (C,)."""
    over_frames = hidden_states.flatten(1, -2) @ mask.flatten(1)[..., None]
    return over_frames.view(*hidden_states.shape[:2], -1).sum(dim=(0, 2))


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


def _sample_statistics(hidden_states: Tensor, mask: Tensor | None) -> Tensor:
    """Mean and unbiased standard deviation over real frames: (B, C, F) to (B, 2C)."""
    weights = _frame_weights(hidden_states, mask)
    mean = _weighted_mean(hidden_states, weights)
    variance = _weighted_mean((hidden_states - mean[..., None]).square(), weights)
    count = hidden_states.new_tensor(hidden_states.shape[-1]) if mask is None else mask.sum(dim=-1)
    unbiased = variance * count / (count - 1).clamp(min=1)
    return torch.cat([mean, (unbiased + _RESNET_EPSILON).sqrt()], dim=1)
