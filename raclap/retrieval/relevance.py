"""What is relevant to what: which captions hold for which clips, and how much.

Shapes: N evaluation rows, each a clip and its caption; K attributes; G groups of rows that nothing tells
apart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from raclap.data.attributes import NOT_NAMED, UNKNOWN, share_of
from raclap.data.manifest import Manifest
from raclap.errors import ManifestError

Direction = Literal["audio_to_text", "text_to_audio"]
DIRECTIONS: tuple[Direction, ...] = ("audio_to_text", "text_to_audio")

_TABLE = 2**24


@dataclass(frozen=True, eq=False)
class StyleRelevance:
    """Relevance by style between the clips and the captions of N rows; row i of each side is a pair.

    A caption that names attributes is judged by them: a clip is relevant when all of them hold. A caption of
    which nobody says what it names is judged by the style key of its row. To have one rule for both, the
    style key is the last attribute, which only those captions name; a row without a key gets a value of its
    own.

    Attributes:
        held: (N, K) int64, codes of the clip's attribute values; 0 where unknown.
        wanted: (N, K) int64, codes that the caption asks for; -1 where it does not name the attribute.
        names_everything: every caption names every known attribute of its row, so rows with equal attributes
            are interchangeable and the style ceiling is a bound.

    Example:
        >>> relevance = StyleRelevance.from_rows(
        ...     attributes=[{"pitch": "high", "speed": "fast"}, {"pitch": "high", "speed": "slow"}],
        ...     names=[("pitch",), ("pitch", "speed")],
        ... )
        >>> relevance.share([0, 1], [0, 1])  # caption 0 holds for both clips, caption 1 half for clip 0
        tensor([[1.0000, 0.5000],
                [1.0000, 1.0000]])
    """

    held: Tensor
    wanted: Tensor
    names_everything: bool = False

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> "StyleRelevance":
        """Relevance between the clips of a manifest and their first captions.

        Raises:
            ManifestError: a caption names an attribute that its row does not have.
        """
        try:
            return cls.from_rows(
                attributes=[
                    {a["name"]: a["value"] for a in row or () if a["value"] is not None}
                    for row in manifest.column("attributes")
                ],
                names=[captions[0]["names"] for captions in manifest.column("captions")],
                style_keys=manifest.column("style_key"),
            )
        except ManifestError as error:
            raise ManifestError(f"{manifest.path}: {error}") from error

    @classmethod
    def from_rows(
        cls,
        attributes: Sequence[Mapping[str, str]],
        names: Sequence[Sequence[str] | None],
        style_keys: Sequence[str | None] | None = None,
    ) -> "StyleRelevance":
        """Relevance from plain lists.

        Args:
            attributes: for each of the N clips its known attributes and their values.
            names: for each of the N captions the attributes it speaks of; None or empty where not known.
            style_keys: N keys; clips with equal keys are interchangeable. None where unknown.

        Raises:
            ManifestError: a caption names an attribute that its row does not have.
        """
        style_keys = [None] * len(attributes) if style_keys is None else style_keys
        _check_names(attributes, names)
        columns = sorted({name for row in names for name in row or ()})
        held = [_codes([row.get(column) for row in attributes]) for column in columns]
        named = [[column in (row or ()) for row in names] for column in columns]
        if not all(names):
            held.append(_style_codes(style_keys, names))
            named.append([not row for row in names])
        codes = torch.tensor(held, dtype=torch.int64).reshape(len(held), len(names)).T.contiguous()
        mask = torch.tensor(named, dtype=torch.bool).reshape(len(named), len(names)).T
        everything = all(row and set(known) <= set(row) for known, row in zip(attributes, names, strict=True))
        return cls(codes, codes.masked_fill(~mask, NOT_NAMED), everything)

    def __len__(self) -> int:
        return len(self.held)

    def to(self, device: torch.device) -> "StyleRelevance":
        """The same relevance with its codes on another device."""
        return StyleRelevance(self.held.to(device), self.wanted.to(device), self.names_everything)

    def share(self, audio_rows: Tensor | Sequence[int], text_rows: Tensor | Sequence[int]) -> Tensor:
        """Share of each caption's named attributes that hold for each clip.

        Args:
            audio_rows: (a,) rows of clips.
            text_rows: (t,) rows of captions.

        Returns:
            (a, t) float32; 1 means relevant.
        """
        audio_rows, text_rows = torch.as_tensor(audio_rows), torch.as_tensor(text_rows)
        return share_of(self.held[audio_rows].unsqueeze(1), self.wanted[text_rows].unsqueeze(0))

    def group_sizes(self) -> Tensor:
        """(N,) number of rows with the same attribute values, the row itself included."""
        _, group, counts = torch.unique(self.held, dim=0, return_inverse=True, return_counts=True)
        return counts[group]


class Gains:
    """Relevance seen from one direction: what each candidate is worth to each query.

    Candidates that nothing tells apart are judged once, as a group: a corpus has many rows and few styles.

    Args:
        relevance: of N rows.
        direction: which side asks.
        run: how to apply a function to tiles, in order: `map`, or that of an executor.

    Attributes:
        relevant_counts: (N,) number of candidates relevant to each query; at least 1, its pair.
    """

    def __init__(self, relevance: StyleRelevance, direction: Direction, run: Callable[..., Iterator] = map):
        self._run = run
        self._audio_asks = direction == "audio_to_text"
        sides = (relevance.held, relevance.wanted)
        self._queries, self._candidates = sides if self._audio_asks else sides[::-1]
        self._groups, self._group_of, self._group_sizes = torch.unique(
            self._candidates, dim=0, return_inverse=True, return_counts=True
        )
        self._query_groups, self._query_group_of = torch.unique(self._queries, dim=0, return_inverse=True)
        self._table = None
        if len(self._query_groups) * len(self._groups) <= _TABLE:
            self._table = self._of_query_groups(lambda share: share)
        sizes = self._group_sizes.double()
        counts = self._of_query_groups(lambda share: (share == 1).double() @ sizes)
        self.relevant_counts = counts.long()[self._query_group_of]

    def at(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(q, k) gains of k candidates for each query; queries (q,), candidates (q, k)."""
        return self._share(self._queries[queries].unsqueeze(1), self._candidates[candidates])

    def of(self, queries: Tensor) -> Tensor:
        """(q, N) gains of all candidates for the queries (q,)."""
        return self._shares(self._query_group_of[queries]).index_select(1, self._group_of)

    def ideal(self, depth: int) -> Tensor:
        """(N, depth) the highest gains that each query can find, best first; depth at most N."""
        return self._of_query_groups(lambda share: self._highest(share, depth))[self._query_group_of]

    def _highest(self, share: Tensor, depth: int) -> Tensor:
        """(g, depth) highest gains from shares (g, G), each as often as its group has candidates."""
        values, groups = share.topk(min(depth, share.shape[1]))
        ends = self._group_sizes[groups].cumsum(1)
        ranks = torch.arange(depth, device=ends.device).expand(len(ends), depth).contiguous()
        return values.gather(1, torch.searchsorted(ends, ranks, right=True))

    def _of_query_groups(self, work: Callable[[Tensor], Tensor]) -> Tensor:
        """What `work` makes of the shares (g, G) between a tile of query groups and all groups of candidates."""
        tiles = torch.arange(len(self._query_groups), device=self._groups.device).split(256)
        return torch.cat(list(self._run(lambda tile: work(self._shares(tile)), tiles)))

    def _shares(self, query_groups: Tensor) -> Tensor:
        """(g, G) shares between the named groups of queries and all groups of candidates."""
        if self._table is not None:
            return self._table[query_groups]
        return self._share(self._query_groups[query_groups].unsqueeze(1), self._groups.unsqueeze(0))

    def _share(self, queries: Tensor, candidates: Tensor) -> Tensor:
        return share_of(queries, candidates) if self._audio_asks else share_of(candidates, queries)


def _check_names(attributes: Sequence[Mapping[str, str]], names: Sequence[Sequence[str] | None]) -> None:
    for row, (known, named) in enumerate(zip(attributes, names, strict=True)):
        for name in named or ():
            if name not in known:
                raise ManifestError(f"row {row}: the caption names '{name}', which the row does not have")


def _codes(values: Sequence[str | None]) -> list[int]:
    """Numbers values from 1 in order of appearance; None is unknown."""
    seen: dict[str | None, int] = {None: UNKNOWN}
    return [seen.setdefault(value, len(seen)) for value in values]


def _style_codes(keys: Sequence[str | None], names: Sequence[Sequence[str] | None]) -> list[int]:
    """Codes of style keys; a caption to be judged by a key that is not known is relevant to its row alone."""
    codes = _codes(keys)
    last = max(codes, default=0)
    return [
        last + 1 + row if key is None and not named else code
        for row, (key, named, code) in enumerate(zip(keys, names, codes, strict=True))
    ]
