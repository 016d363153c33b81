"""WavLM with its attention through scaled-dot-product attention or FlexAttention, under the library's weight names.

WavLM adds to each attention score the bias of the distance between key and query, times a gate of the query:

    softmax_j(q_i · k_j / √E + g_i b(j − i)),  with g computed from the layer's input and b learned, one for all layers

The library repeats b for every clip of the batch and asks for attention weights that nobody reads. Here the bias stays
one matrix a head for the whole forward pass, and what the kernel can do is left to the kernel.

Shapes: B clips, T frames, D hidden size, H heads, E = D / H head size, M distance from which the bias is constant.

Source: Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing", IEEE JSTSP
2022, gated relative position bias.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import scaled_dot_product_attention
from transformers import WavLMConfig, WavLMModel
from transformers.integrations.flex_attention import compile_friendly_flex_attention
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

_BLOCK = 128  # keys and queries of a block of FlexAttention's masks


class SharedBias(NamedTuple):
    """What the first layer computes and all layers share.

    Attributes:
        bias: (1, H, T, T) by query and key; for FlexAttention (H, 2M + 1) by distance.
        padding: (B, 1, 1, T), 0 where a key is real and −∞ where not; for FlexAttention the blocks of keys that
            hold real ones. None: all are real.
    """

    bias: Tensor
    padding: Tensor | BlockMask | None


class GatedBiasAttention(WavLMAttention):
    """The library's attention by `config._attn_implementation`: "sdpa", "flex_attention", or "eager" for its own code.

    Attention weights exist in the library's own code alone: a forward pass with `output_attentions=True` runs it.

    Args:
        attention: the library's layer, whose weights this one takes over.
        config: of the model; read in every forward pass, so that `set_attn_implementation` works.
    """

    def __init__(self, attention: WavLMAttention, config: WavLMConfig):
        nn.Module.__init__(self)
        for name in ("embed_dim", "num_heads", "head_dim", "dropout", "num_buckets", "max_distance"):
            setattr(self, name, getattr(attention, name))
        self.config = config
        self.gru_rel_pos_const = attention.gru_rel_pos_const
        for name, module in attention.named_children():
            self.add_module(name, module)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | SharedBias | None = None,
        index: int = 0,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | SharedBias]:
        """Attends.

        Args:
            hidden_states: (B, T, D).
            attention_mask: (B, T), 1 where real, ones first; None: all are.
            position_bias: what the layer before returned; None in the first layer.
            index: of the layer.
            **kwargs: `output_attentions` is read, the rest is for other towers.

        Returns:
            (B, T, D); the weights, if asked for; what the next layer takes as `position_bias`.

        Raises:
            ValueError: FlexAttention on a CPU, or with dropout.
        """
        implementation = self.config._attn_implementation
        if implementation == "eager" or kwargs.get("output_attentions"):
            return super().forward(hidden_states, attention_mask, position_bias, index)
        projections = (self.q_proj, self.k_proj, self.v_proj)
        heads = [self._split_heads(projection(hidden_states)) for projection in projections]
        gate, dropout = self._gate(hidden_states), self.dropout if self.training else 0.0
        if implementation == "flex_attention":
            _check_flex(hidden_states.device, dropout)
            shared = self._share_by_distance(attention_mask) if position_bias is None else position_bias
            # The gradients of gate and bias are summed atomically, which half precision would not survive.
            score_mod = add_gated_bias(gate.float(), shared.bias.float())
            attended = compile_friendly_flex_attention(
                *heads, training=self.training, score_mod=score_mod, block_mask=shared.padding
            )
        else:
            dtype = heads[0].dtype
            shared = (
                self._share_by_pair(attention_mask, gate.shape[2], dtype) if position_bias is None else position_bias
            )
            mask = gated_mask(gate.to(dtype), shared)
            attended = scaled_dot_product_attention(*heads, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None, shared

    def _split_heads(self, hidden_states: Tensor) -> Tensor:
        """(B, T, D) to (B, H, T, E)."""
        return hidden_states.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _gate(self, hidden_states: Tensor) -> Tensor:
        """g, one factor a query: (B, H, T, 1)."""
        projected = self.gru_rel_pos_linear(self._split_heads(hidden_states))
        update, reset = torch.sigmoid(projected.unflatten(-1, (2, 4)).sum(-1)).split(1, dim=-1)
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0

    def _bias_at(self, distances: Tensor) -> Tensor:
        """b at N distances from query to key, in frames: (H, N)."""
        return self.rel_attn_embed(self._relative_positions_bucket(distances)).T

    def _share_by_pair(self, attention_mask: Tensor | None, frames: int, dtype: torch.dtype) -> SharedBias:
        device = self.rel_attn_embed.weight.device
        by_distance = self._bias_at(torch.arange(1 - frames, frames, device=device)).to(dtype)
        bias = by_distance.unfold(-1, frames, 1).flip(-2)  # the row of query i begins at distance -i
        padding = None
        if attention_mask is not None:
            padding = torch.zeros(attention_mask.shape, dtype=dtype, device=device)
            padding = padding.masked_fill(attention_mask.ne(1), -torch.inf)[:, None, None]
        return SharedBias(bias[None], padding)

    def _share_by_distance(self, attention_mask: Tensor | None) -> SharedBias:
        furthest = self.max_distance
        device = self.rel_attn_embed.weight.device
        bias = self._bias_at(torch.arange(-furthest, furthest + 1, device=device))
        return SharedBias(bias, None if attention_mask is None else real_blocks(attention_mask))


class WavLMTower(WavLMModel):
    """`WavLMModel` that knows "sdpa" (the default) and "flex_attention" beside "eager"; weights fit both classes."""

    _supports_sdpa = True
    _supports_flex_attn = True

    @classmethod
    def is_custom_code(cls) -> bool:
        """No, so that random weights start as in the library: of custom code it leaves some modules out."""
        return False

    def __init__(self, config: WavLMConfig):
        super().__init__(config)
        for layer in self.encoder.layers:
            layer.attention = GatedBiasAttention(layer.attention, config)


def gated_mask(gate: Tensor, shared: SharedBias) -> Tensor:
    """What scaled-dot-product attention adds to the scores, from gates (B, H, T, 1): (B, H, T, T)."""
    if shared.padding is None:
        return gate * shared.bias
    return torch.addcmul(shared.padding, gate, shared.bias)


def add_gated_bias(gate: Tensor, bias: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """FlexAttention's score function: the gated bias is added pair by pair, no matrix is made.

    Args:
        gate: (B, H, T, 1).
        bias: (H, 2M + 1), from distance −M to M; beyond them it is constant.

    Returns:
        The function of score, clip, head, query and key.
    """
    gate = gate.squeeze(-1)
    furthest = bias.shape[-1] // 2

    def score_mod(score: Tensor, clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = torch.clamp(key - query, -furthest, furthest) + furthest
        return score + gate[clip, head, query] * bias[head, distance]

    return score_mod


def real_blocks(attention_mask: Tensor) -> BlockMask:
    """The blocks of keys that hold real frames, clip by clip, for FlexAttention to skip the others.

    Args:
        attention_mask: (B, T), 1 where real, ones first.
    """
    clips, frames = attention_mask.shape
    lengths = attention_mask.sum(dim=1)
    blocks = -(-frames // _BLOCK)
    used = (-(-lengths // _BLOCK)).to(torch.int32)[:, None, None].expand(clips, 1, blocks)
    order = torch.arange(blocks, dtype=torch.int32, device=lengths.device).expand(clips, 1, blocks, blocks)

    def is_real(clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key < lengths[clip]

    return BlockMask.from_kv_blocks(
        used.contiguous(), order.contiguous(), BLOCK_SIZE=_BLOCK, mask_mod=is_real, seq_lengths=(frames, frames)
    )


def _check_flex(device: torch.device, dropout: float) -> None:
    """Refuses what FlexAttention cannot do.

    Raises:
        ValueError: on a CPU, where it has no backward pass, or with dropout.
    """
    if device.type == "cpu":
        raise ValueError('attn_implementation "flex_attention" needs a GPU; on a CPU take "sdpa"')
    if dropout:
        raise ValueError(
            f'attn_implementation "flex_attention" has no dropout: set attention_dropout (now {dropout}) to 0 in the '
            f'configuration of the speech tower, or take "sdpa"'
        )
