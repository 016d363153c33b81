"""Which captions are right for a clip, and how much: relations, the source of soft targets.

A relation gives logits R (B, B) between the clips (rows) and the captions (columns) of the global batch. The targets
of a clip are the softmax of its row of R, those of a caption the softmax of its column. A relation is asked for one
tile of R at a time, so that nobody has to hold the whole matrix.

Shapes: B pairs in the global batch, K attributes, D' joint size of a teacher, r rows and c columns of a tile.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from raclap.data.attributes import NOT_NAMED, share_of

# exp(FLOOR) is exactly 0 in every precision, while 0 · FLOOR is still 0 (0 · inf would be no number).
FLOOR = -1e4
# A span of exponents that sums of exponentials survive in float32, whose own span is from -87 to 88.
EXPONENT_SPAN = 80.0

_LONGEST_UNIT_ROW = 1.01  # embeddings stored in half precision are this close to unit length


class Relation(Protocol):
    """Logits between the B clips and the B captions of a global batch; see `SameGroup`.

    Its data are of the whole batch, gathered from all processes, and lie on the device of the embeddings. No gradient
    flows into a relation.
    """

    def __len__(self) -> int:
        """B, pairs in the global batch."""

    def logits(self, rows: slice, columns: slice) -> Tensor:
        """(r, c) finite logits of a tile, a fresh tensor; rows are clips, columns captions, ranges are global."""

    @property
    def reference(self) -> float:
        """An upper bound of the logits."""

    @property
    def exp_is_safe(self) -> bool:
        """Whether sums of exp(logits - reference) over any row or column stay above 0 in float32."""


class _Labels:
    """What relations by labels have in common: each pair is related to itself, with the highest logit, 0."""

    reference = 0.0
    exp_is_safe = True


class SameGroup(_Labels):
    """All captions of a clip's group are right, equally: no false negatives among items that say the same.

    A group may be a caption, a style key or a speaker. When all codes differ this is the identity.

    Args:
        codes: (B,) integers; equal codes are one group.

    Example:
        >>> relation = SameGroup(torch.tensor([3, 5, 3]))
        >>> relation.logits(slice(0, 3), slice(0, 3)).softmax(1)
        tensor([[0.5000, 0.0000, 0.5000],
                [0.0000, 1.0000, 0.0000],
                [0.5000, 0.0000, 0.5000]])
    """

    def __init__(self, codes: Tensor):
        self._codes = codes

    def __len__(self) -> int:
        return len(self._codes)

    def logits(self, rows: slice, columns: slice) -> Tensor:
        """(r, c) float32: 0 within a group, `FLOOR` elsewhere."""
        return (self._codes[rows].unsqueeze(1) != self._codes[columns]).float().mul_(FLOOR)


class SharedAttributes(_Labels):
    """Captions are right by the share of the attributes they name that hold for the clip, as in GEmo-CLAP.

    Args:
        held: (B, K) integer codes of the clips' attribute values.
        wanted: (B, K) integer codes that the captions ask for; -1 where a caption does not name the attribute.
        power: targets are proportional to share ** power. At 1 many captions that hold by half can outweigh the one
            that holds entirely; a higher power gives the whole matches more.

    Raises:
        ValueError: a caption names nothing or does not hold for its own clip, shapes differ, or power is not above 0.

    Example:
        >>> held = torch.tensor([[1, 1], [1, 2]])  # pitch and speed: high and fast, high and slow
        >>> wanted = torch.tensor([[1, 1], [1, 2]])  # both captions name both
        >>> SharedAttributes(held, wanted).logits(slice(0, 2), slice(0, 2)).softmax(1)  # shares 1 and 1/2
        tensor([[0.6667, 0.3333],
                [0.3333, 0.6667]])
    """

    def __init__(self, held: Tensor, wanted: Tensor, power: float = 1.0):
        if held.shape != wanted.shape:
            raise ValueError(f"held is {tuple(held.shape)}, wanted {tuple(wanted.shape)}: both must be (B, K)")
        if not power > 0:
            raise ValueError(f"power must be above 0, not {power}")
        named = wanted != NOT_NAMED
        empty = (~named.any(1)).nonzero()
        if len(empty):
            raise ValueError(f"caption {empty[0].item()} names no attribute")
        wrong = (named & (held != wanted)).any(1).nonzero()
        if len(wrong):
            raise ValueError(f"caption {wrong[0].item()} does not hold for its own clip")
        self._held, self._wanted, self._power = held, wanted, power

    def __len__(self) -> int:
        return len(self._held)

    def logits(self, rows: slice, columns: slice) -> Tensor:
        """(r, c) float32: power · log(share), `FLOOR` where nothing holds."""
        share = share_of(self._held[rows].unsqueeze(1), self._wanted[columns].unsqueeze(0))
        return share.log_().mul_(self._power).clamp_(min=FLOOR)


class TeacherCosines:
    """Captions are right as a frozen teacher sees them: logits are its cosines over a temperature.

    Args:
        audio: (B, D') unit rows, the teacher's embeddings of the clips. D' need not be the student's joint size.
        text: (B, D') unit rows, those of the captions.
        temperature: the lower, the nearer the targets are to one-hot.

    Raises:
        ValueError: temperature is not above 0, shapes differ, or rows are longer than 1.

    Example:
        >>> audio, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> TeacherCosines(audio, text, temperature=0.5).logits(slice(0, 2), slice(0, 2))
        tensor([[2.0000, 1.2000],
                [0.0000, 1.6000]])

    Source: RA-CLAP Eqs. (4)-(7): the teacher's half.
    """

    def __init__(self, audio: Tensor, text: Tensor, temperature: float):
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if audio.shape != text.shape:
            raise ValueError(f"audio is {tuple(audio.shape)}, text {tuple(text.shape)}: both must be (B, D')")
        self._audio, self._text = _full_precision(audio), _full_precision(text)
        self._temperature = float(temperature)
        for name, embeds in (("audio", self._audio), ("text", self._text)):
            longest = embeds.norm(dim=1).max().item()
            if longest > _LONGEST_UNIT_ROW:
                raise ValueError(f"teacher's {name} embeddings must be unit rows; one is {longest:.3g} long")

    @classmethod
    def average(cls, teachers: Sequence[tuple[Tensor, Tensor]], temperature: float) -> "TeacherCosines":
        """An ensemble: the mean of several teachers' cosines.

        Concatenated embeddings, divided by the root of their number, have that mean as their product.

        Args:
            teachers: (audio, text) of each, (B, D') unit rows; D' may differ between teachers.
            temperature: that the mean cosine is divided by.

        Raises:
            ValueError: there is no teacher, or as for one.
        """
        if not teachers:
            raise ValueError("an ensemble needs at least one teacher")
        audio, text = (
            torch.cat([_full_precision(embeds) for embeds in side], dim=1) / len(teachers) ** 0.5
            for side in zip(*teachers, strict=True)
        )
        return cls(audio, text, temperature)

    def __len__(self) -> int:
        return len(self._audio)

    def logits(self, rows: slice, columns: slice) -> Tensor:
        """(r, c) cosines / temperature, in the precision of the teacher's embeddings, at least float32."""
        with torch.autocast(self._audio.device.type, enabled=False):
            return (self._audio[rows] @ self._text[columns].T).div_(self._temperature)

    @property
    def reference(self) -> float:
        """The logit of equal embeddings."""
        return 1 / self._temperature

    @property
    def exp_is_safe(self) -> bool:
        """Whether the temperature is above 0.025."""
        return 2 / self._temperature < EXPONENT_SPAN


def _full_precision(embeds: Tensor) -> Tensor:
    embeds = embeds.detach()
    return embeds if embeds.dtype == torch.float64 else embeds.float()
