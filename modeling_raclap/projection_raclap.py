"""From a tower's pooled output to the joint space.

Shapes: B items, H hidden size of the tower, D joint size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReluProjection(nn.Module):
    """Two linear layers with a ReLU between them: (B, H) to (B, D).

    Source: RA-CLAP section 2.1.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear1 = nn.Linear(in_features, out_features)
        self.linear2 = nn.Linear(out_features, out_features)

    def forward(self, pooled: Tensor) -> Tensor:
        """Projects pooled tower outputs."""
        return self.linear2(torch.relu(self.linear1(pooled)))


class ResidualProjection(nn.Module):
    """LayerNorm(e + Dropout(W2 GELU(e))) with e = W1 x, neither W with a bias: (B, H) to (B, D).

    Source: ParaCLAP (Jing, Triantafyllopoulos and Schuller, Interspeech 2024) and ParaSpeechCLAP (Diwan, Choi and
    Harwath, arXiv 2603.28737), whose published code has these layers under these names.
    """

    def __init__(self, in_features: int, out_features: int, dropout: float):
        super().__init__()
        self.linear1 = nn.Linear(in_features, out_features, bias=False)
        self.linear2 = nn.Linear(out_features, out_features, bias=False)
        self.layer_norm = nn.LayerNorm(out_features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        """Projects pooled tower outputs."""
        embedded = self.linear1(pooled)
        return self.layer_norm(embedded + self.dropout(self.linear2(F.gelu(embedded))))


def build_projection(kind: str, in_features: int, out_features: int, dropout: float) -> nn.Module:
    """A projection by its name in `RaClapConfig.projection`; a `relu_mlp` has no dropout."""
    if kind == "residual_mlp":
        return ResidualProjection(in_features, out_features, dropout)
    return ReluProjection(in_features, out_features)
