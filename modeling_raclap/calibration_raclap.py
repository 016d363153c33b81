"""What a cosine means: how likely a caption fits a clip, and how the two compare with a random clip and caption.

A cosine of 0.3 is much for one model and little for another. A calibration is fitted on pairs that the model was not
trained on and travels in the model's configuration.

Shapes: Q quantiles (101, of 0 to 100 %).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any

import torch
from torch import Tensor

_KEYS = ("slope", "intercept", "quantiles")


@dataclass(frozen=True)
class Calibration:
    """Cosines of one model as probabilities and as percentiles.

    Attributes:
        slope, intercept: of the logistic function from cosine to probability; the slope is positive.
        quantiles: (Q,) of the cosines of random clips with random captions that are no pair, in rising order.
        facts: what it was fitted on and how well it fits, for people; nothing reads it to compute.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999 (the logistic function).

    Example:
        >>> calibration = Calibration(slope=10.0, intercept=-2.0, quantiles=(-0.1, 0.0, 0.1))
        >>> calibration.probability(torch.tensor([0.2, 0.4]))
        tensor([0.5000, 0.8808])
        >>> calibration.percentile(torch.tensor([-0.5, 0.0, 0.05, 0.5]))
        tensor([  0.,  50.,  75., 100.])
    """

    slope: float
    intercept: float
    quantiles: tuple[float, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Reads what a configuration holds.

        Args:
            values: as `to_dict` gives them.

        Raises:
            ValueError: a key is missing or unknown, or a value is not as it should be.
        """
        for name in _KEYS:
            if name not in values:
                raise ValueError(f"calibration: no '{name}'; expected {', '.join(_KEYS)}")
        unknown = sorted(set(values) - {*_KEYS, "facts"})
        if unknown:
            raise ValueError(f"calibration: unknown key '{unknown[0]}'; expected {', '.join(_KEYS)} and facts")
        slope, intercept = _number("slope", values["slope"]), _number("intercept", values["intercept"])
        if slope <= 0:
            raise ValueError(f"calibration: slope {slope} is not positive")
        return cls(slope, intercept, _rising(values["quantiles"]), dict(values.get("facts") or {}))

    def to_dict(self) -> dict[str, Any]:
        """For `RaClapConfig.calibration`: numbers, lists and dicts alone."""
        return {**asdict(self), "quantiles": list(self.quantiles)}

    def probability(self, cosine: Tensor | float) -> Tensor:
        """Probability that a caption fits a clip, at even odds: where as many captions fit as do not.

        Where only one caption in k fits beforehand, the odds p / (1 - p) are k - 1 times lower.

        Args:
            cosine: of clips and captions, any shape.

        Returns:
            The same shape, in [0, 1], on the same device; single precision, or double where the cosines are.
        """
        return torch.sigmoid(self.slope * _floating(cosine) + self.intercept)

    def percentile(self, cosine: Tensor | float) -> Tensor:
        """Percentage of random pairs of clip and caption whose cosine is lower.

        Between two quantiles it runs in a straight line. Of several equal quantiles the first counts, so what is equal
        is not lower.

        Args:
            cosine: of clips and captions, any shape.

        Returns:
            The same shape, in [0, 100], on the same device; single precision, or double where the cosines are.
        """
        cosine = _floating(cosine)
        quantiles = torch.tensor(self.quantiles, dtype=cosine.dtype, device=cosine.device)
        above = torch.searchsorted(quantiles, cosine.contiguous()).clamp(1, len(quantiles) - 1)
        low, high = quantiles[above - 1], quantiles[above]
        width = torch.where(high > low, high - low, torch.ones_like(low))
        part = torch.where(high > low, ((cosine - low) / width).clamp(0, 1), (cosine > high).to(cosine.dtype))
        return 100 / (len(quantiles) - 1) * (above - 1 + part)


def _floating(cosine: Tensor | float) -> Tensor:
    values = torch.as_tensor(cosine)
    return values if values.dtype == torch.float64 else values.float()


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"calibration: {name} is {value!r}; expected a number")
    return float(value)


def _rising(values: Any) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or len(values) < 2:
        raise ValueError("calibration: quantiles must be a list of at least two numbers")
    quantiles = tuple(_number("a quantile", value) for value in values)
    if any(later < earlier for earlier, later in pairwise(quantiles)):
        raise ValueError("calibration: quantiles must not fall")
    return quantiles
