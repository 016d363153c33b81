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
    """WavLM's attention by `config._attn_implementation`: "sdpa", "flex_attention" or "eager".

    Attention weights exist in "eager" alone: a forward pass with `output_attentions=True` runs it. The projections are
    always called as modules, so that what an adapter learns beside them counts.

    Deviation: the library's own attention takes the weights out of its projections, past any adapter, and returns the
    mean of the attention weights over the heads in place of each head's.

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
            (B, T, D); the weights (B, H, T, T), if asked for; what the next layer takes as `position_bias`.

        Raises:
            ValueError: FlexAttention on a CPU, or with dropout.
        """
        projections = (self.q_proj, self.k_proj, self.v_proj)
        heads = [self._split_heads(projection(hidden_states)) for projection in projections]
        gate, dropout = self._gate(hidden_states), self.dropout if self.training else 0.0
        wants_weights = self.config._attn_implementation == "eager" or kwargs.get("output_attentions")
        weights = None
        if self.config._attn_implementation == "flex_attention" and not wants_weights:
            _check_flex(hidden_states.device, dropout)
            shared = (
                self._share_by_distance(attention_mask, hidden_states.device)
                if position_bias is None
                else position_bias
            )
            # The gradients of gate and bias are summed atomically, which half precision would not survive.
            score_mod = add_gated_bias(gate.float(), shared.bias.float())
            attended = compile_friendly_flex_attention(
                *heads, training=self.training, score_mod=score_mod, block_mask=shared.padding
            )
        else:
            shared = self._share_by_pair(attention_mask, heads[0]) if position_bias is None else position_bias
            mask = gated_mask(gate.to(heads[0].dtype), shared)
            if wants_weights:
                attended, weights = attention_with_weights(*heads, mask, dropout)
            else:
                attended = scaled_dot_product_attention(*heads, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), weights, shared

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

    def _share_by_pair(self, attention_mask: Tensor | None, query: Tensor) -> SharedBias:
        # The device is asked of what is attended: weights that are offloaded lie elsewhere until they are used.
        frames, dtype, device = query.shape[2], query.dtype, query.device
        by_distance = self._bias_at(torch.arange(1 - frames, frames, device=device)).to(dtype)
        bias = by_distance.unfold(-1, frames, 1).flip(-2)  # the row of query i begins at distance -i
        padding = None
        if attention_mask is not None:
            padding = torch.zeros(attention_mask.shape, dtype=dtype, device=device)
            padding = padding.masked_fill(attention_mask.ne(1), -torch.inf)[:, None, None]
        return SharedBias(bias[None], padding)

    def _share_by_distance(self, attention_mask: Tensor | None, device: torch.device) -> SharedBias:
        furthest = self.max_distance
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


def attention_with_weights(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float
) -> tuple[Tensor, Tensor]:
    """Scaled-dot-product attention step by step.

    Args:
        query, key, value: (B, H, T, E).
        mask: (B, H, T, T), added to the scores.
        dropout: rate at which weights are dropped.

    Returns:
        (B, H, T, E), and the weights before dropout, (B, H, T, T).
    """
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask
    weights = torch.softmax(scores, dim=-1)
    return torch.dropout(weights, dropout, train=dropout > 0) @ value, weights


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
