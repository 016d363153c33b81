"""Ranks and relevance of retrieval in both directions, without ever holding the score matrix.

Row i of the clips and row i of the captions are a pair; several rows may have the same caption, and the
`instance` protocol still looks for the one of the pair. The `style` protocol takes every item that
`StyleRelevance` calls relevant. A tie counts against the relevant item in both, so a model that gives every
item the same embedding gets the lowest value that the candidates allow.

Shapes: N pairs, D joint size, q queries of a tile, k places of a result list.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raclap.errors import RaClapError
from raclap.retrieval.relevance import DIRECTIONS, Direction, Gains, StyleRelevance

METRICS = ("R@1", "R@5", "R@10", "mAP@10", "median_rank", "nDCG@10", "style_R@10", "style_mAP@10")
CEILINGS = ("style_ceiling_R@1", "style_ceiling_R@10")

_DEPTH = 10
_TILE, _TILE_SCORES = 256, 2**25
_RECALL = re.compile(r"(style_ceiling_|style_|)R@([1-9]\d*)")


class EmbeddingError(RaClapError):
    """Embeddings cannot be ranked."""


@dataclass(frozen=True, eq=False)
class DirectionScores:
    """What each of N queries of one direction found.

    Attributes:
        instance_rank: (N,) int64, place of the paired item, from 1.
        style_rank: (N,) int64, place of the first relevant item, from 1.
        style_average_precision: (N,) AP@10 over the relevant items.
        normalised_gain: (N,) nDCG@10 with the share of named attributes as gain.
        group_sizes: (N,) number of items that nothing tells apart from the pair; None where that is not
            known.
    """

    instance_rank: np.ndarray
    style_rank: np.ndarray
    style_average_precision: np.ndarray
    normalised_gain: np.ndarray
    group_sizes: np.ndarray | None = None

    def values(self, metric: str) -> np.ndarray:
        """(N,) values whose mean (median for `median_rank`) is the metric; percent, ranks as they are.

        Args:
            metric: one of `METRICS`, or `R@k`, `style_R@k` or `style_ceiling_R@k` for any k.

        Raises:
            ValueError: there is no such metric, or its group sizes are not known.
        """
        if recall := _RECALL.fullmatch(metric):
            return 100 * self._recall(recall[1], int(recall[2]))
        match metric:
            case "mAP@10":
                return 100 * np.where(self.instance_rank <= _DEPTH, 1 / self.instance_rank, 0.0)
            case "median_rank":
                return self.instance_rank.astype(np.float64)
            case "nDCG@10":
                return 100 * self.normalised_gain
            case "style_mAP@10":
                return 100 * self.style_average_precision
        raise ValueError(f"no metric '{metric}'; there are {', '.join(METRICS)} and R@k of any k")

    def _recall(self, protocol: str, k: int) -> np.ndarray:
        if protocol == "style_ceiling_":
            if self.group_sizes is None:
                raise ValueError("there is no style ceiling where captions do not name everything")
            return np.minimum(k, self.group_sizes) / self.group_sizes
        ranks = self.style_rank if protocol == "style_" else self.instance_rank
        return (ranks <= k).astype(np.float64)


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Per-query results of both directions."""

    audio_to_text: DirectionScores
    text_to_audio: DirectionScores

    def __getitem__(self, direction: Direction) -> DirectionScores:
        return getattr(self, direction)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that are reported, ceilings only where they are bounds."""
        return METRICS if self.audio_to_text.group_sizes is None else METRICS + CEILINGS


def statistic_of(metric: str) -> str:
    """How the values of queries become the metric: `median` or `mean`."""
    return "median" if metric == "median_rank" else "mean"


def summarise(scores: RetrievalScores, metrics: Sequence[str] | None = None) -> dict[Direction, dict[str, float]]:
    """Metrics of both directions, in percent except `median_rank`.

    Args:
        scores: what `rank_pairs` found.
        metrics: names after `DirectionScores.values`; None takes `scores.metrics`.

    Example:
        >>> clips = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> captions = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # the last two are mixed up
        >>> relevance = StyleRelevance.from_rows([{}] * 3, [None] * 3, ["calm", "loud", "loud"])
        >>> summary = summarise(rank_pairs(clips, captions, relevance), ["R@1", "R@2", "style_R@1"])
        >>> {metric: round(value, 1) for metric, value in summary["audio_to_text"].items()}
        {'R@1': 33.3, 'R@2': 100.0, 'style_R@1': 100.0}
    """
    names = scores.metrics if metrics is None else metrics
    reduce = {"mean": np.mean, "median": np.median}
    return {
        direction: {metric: float(reduce[statistic_of(metric)](scores[direction].values(metric))) for metric in names}
        for direction in DIRECTIONS
    }


def rank_pairs(
    audio_embeds: Tensor, text_embeds: Tensor, relevance: StyleRelevance, tile: int | None = None
) -> RetrievalScores:
    """Ranks every caption for every clip and every clip for every caption.

    Each direction has a product of its own, so that all the scores of a query stand side by side: its ties are
    exact and its first relevant item is known however far down it lies. Memory is O(tile · N) a thread.

    Args:
        audio_embeds: (N, D) unit vectors.
        text_embeds: (N, D) unit vectors; row i describes clip i.
        relevance: of the same N rows.
        tile: queries that a thread takes at a time; None takes what suits N.

    Raises:
        EmbeddingError: there is no pair, the numbers of rows differ or a row is not finite.
    """
    if not 0 < len(audio_embeds) == len(text_embeds) == len(relevance):
        raise EmbeddingError(
            f"{len(audio_embeds)} audio embeddings, {len(text_embeds)} text embeddings, {len(relevance)} rows "
            "of relevance: there must be equally many, at least one"
        )
    audio, text = finite(audio_embeds, "audio"), finite(text_embeds, "text")
    relevance = relevance.to(audio.device)
    groups = relevance.group_sizes().cpu().numpy() if relevance.names_everything else None
    with full_float32(), _thread_a_tile(audio.device) as run:
        return RetrievalScores(
            audio_to_text=_rank(audio, text, Gains(relevance, "audio_to_text", run), groups, tile, run),
            text_to_audio=_rank(text, audio, Gains(relevance, "text_to_audio", run), groups, tile, run),
        )


def rank_scores(scores: Tensor, relevant: Tensor) -> DirectionScores:
    """Ranks candidates by similarities that are already there; a set of candidates is relevant to each query.

    Args:
        scores: (Q, C) similarities, finite.
        relevant: (Q, C) bool, at least one in each row.

    Returns:
        Of Q queries; `instance_rank` too is the place of the first relevant candidate, which is the paired one where
        the set has no other.

    Raises:
        EmbeddingError: the shapes differ, a similarity is not finite or nothing is relevant to a query.

    Example:
        >>> found = rank_scores(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]]))
        >>> found.instance_rank  # the tie counts against it
        array([3])
    """
    if scores.shape != relevant.shape or scores.dim() != 2 or not scores.numel():
        raise EmbeddingError(
            f"similarities of shape {tuple(scores.shape)}, relevance of {tuple(relevant.shape)}: expected (queries, "
            "candidates) of both, at least one of each"
        )
    for wrong, what in ((~scores.isfinite().all(1), "has a similarity that is not finite"),
                        (~relevant.any(1), "has no relevant candidate")):  # fmt: skip
        if wrong.any():
            raise EmbeddingError(f"query {wrong.nonzero()[0].item()} {what}")
    gains, rows = _GivenGains(relevant.float()), torch.arange(len(scores), device=scores.device)
    found = _top_gains(scores, rows, gains)
    rank = _first_relevant(scores, rows, gains, found).cpu().numpy()
    found = found.double()
    return DirectionScores(
        instance_rank=rank,
        style_rank=rank,
        style_average_precision=_average_precision(found == 1, gains.relevant_counts).cpu().numpy(),
        normalised_gain=_normalised_gain(found, gains.ideal(found.shape[1]).double()).cpu().numpy(),
    )


def rank_found(
    scores_of: Callable[[Tensor], Tensor], relevance: StyleRelevance, direction: Direction
) -> DirectionScores:
    """Ranks N candidates for N queries by the similarities that a search found: those of a vector store, say.

    What a search did not find counts as if it came last, in the order that is worst.

    Args:
        scores_of: (q, N) similarities for the queries (q,), -inf for candidates that were not found.
        relevance: of the N rows.
        direction: which side asks.
    """
    groups = relevance.group_sizes().cpu().numpy() if relevance.names_everything else None
    return _rank_by(scores_of, Gains(relevance, direction), groups, _tiles(relevance.held, None), map)


class _GivenGains:
    """`Gains` that are known one by one: (Q, C)."""

    def __init__(self, gains: Tensor):
        self._gains = gains
        self.relevant_counts = (gains == 1).sum(1)

    def at(self, queries: Tensor, candidates: Tensor) -> Tensor:
        return self._gains[queries].gather(1, candidates)

    def of(self, queries: Tensor) -> Tensor:
        return self._gains[queries]

    def ideal(self, depth: int) -> Tensor:
        return self._gains.topk(depth).values


def finite(embeds: Tensor, modality: str) -> Tensor:
    """Embeddings in float32, refused where a score could be infinite or no number."""
    embeds = embeds.detach().float()
    bad = (~embeds.square().sum(1).isfinite()).nonzero()
    if len(bad):
        raise EmbeddingError(f"{modality} embedding of row {bad[0].item()} is not finite")
    return embeds


@contextmanager
def full_float32() -> Iterator[None]:
    """Products in full float32: TF32 and bfloat16 would make ties of scores that differ."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)


@contextmanager
def _thread_a_tile(device: torch.device) -> Iterator[Callable[..., Iterator]]:
    """Yields a `map` that works on as many tiles at a time as torch has threads, one thread a tile.

    Threads that share every small operation wait for one another at its end: on a machine with other work to
    do, that takes several times as long.
    """
    threads = torch.get_num_threads()
    workers = threads if device.type == "cpu" else 1
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)


def _rank(
    queries: Tensor,
    candidates: Tensor,
    gains: Gains,
    group_sizes: np.ndarray | None,
    tile: int | None,
    run: Callable[..., Iterator],
) -> DirectionScores:
    # A product may round equal columns differently: equal candidates are scored once, so that they tie.
    distinct, place = torch.unique(candidates, dim=0, return_inverse=True)
    repeated = len(distinct) < len(candidates)
    columns = distinct if repeated else candidates

    def scores_of(rows: Tensor) -> Tensor:
        scores = queries[rows] @ columns.T
        return scores.index_select(1, place) if repeated else scores

    return _rank_by(scores_of, gains, group_sizes, _tiles(queries, tile), run)


def _tiles(queries: Tensor, tile: int | None) -> Sequence[Tensor]:
    """Rows of the queries (N, …), so many at a time."""
    N = len(queries)
    return torch.arange(N, device=queries.device).split(tile or min(_TILE, max(32, _TILE_SCORES // N)))


def _rank_by(
    scores_of: Callable[[Tensor], Tensor],
    gains: Gains,
    group_sizes: np.ndarray | None,
    tiles: Sequence[Tensor],
    run: Callable[..., Iterator],
) -> DirectionScores:
    """Ranks by scores (q, N) that are given tile by tile."""

    def rank_tile(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = scores_of(rows)
        # The pair's score comes from the same product: computed apart it would differ by rounding.
        own = scores.gather(1, rows.unsqueeze(1))
        top_gains = _top_gains(scores, rows, gains)
        return _reaching(scores, own), _first_relevant(scores, rows, gains, top_gains), top_gains

    instance_rank, style_rank, found = map(torch.cat, zip(*run(rank_tile, tiles), strict=True))
    found = found.double()
    return DirectionScores(
        instance_rank=instance_rank.cpu().numpy(),
        style_rank=style_rank.cpu().numpy(),
        style_average_precision=_average_precision(found == 1, gains.relevant_counts).cpu().numpy(),
        normalised_gain=_normalised_gain(found, gains.ideal(found.shape[1]).double()).cpu().numpy(),
        group_sizes=group_sizes,
    )


def _top_gains(scores: Tensor, rows: Tensor, gains: "Gains | _GivenGains") -> Tensor:
    """(q, k) gains of the k best scored candidates, best first; among equal scores the lowest gain first."""
    N = scores.shape[1]
    k = min(_DEPTH, N)
    best, candidates = scores.topk(min(k + 1, N))
    found = gains.at(rows, candidates[:, :k])
    if k < N:
        # A tie reaches over the edge of the list: which of its members are on it is ours to choose.
        cut = (best[:, k - 1] == best[:, k]).nonzero().squeeze(1)
        if len(cut):
            found[cut] = _worst_of_tie(scores[cut], best[cut, :k], found[cut], gains.of(rows[cut]))
    best = best[:, :k]
    by_gain = found.argsort(dim=1, stable=True)
    by_score = best.gather(1, by_gain).argsort(dim=1, descending=True, stable=True)
    return found.gather(1, by_gain.gather(1, by_score))


def _worst_of_tie(scores: Tensor, best: Tensor, found: Tensor, all_gains: Tensor) -> Tensor:
    """Fills the places of the last score of the list with the lowest gains among all that have this score.

    Args:
        scores: (q, N).
        best: (q, k) highest scores, descending.
        found: (q, k) gains that stand beside them.
        all_gains: (q, N).
    """
    last = best[:, -1:]
    k = best.shape[1]
    tied = all_gains.masked_fill(scores != last, torch.inf).topk(k, largest=False).values
    above = (best > last).count_nonzero(1).unsqueeze(1)
    places = torch.arange(k, device=best.device) - above
    return torch.where(places < 0, found, tied.gather(1, places.clamp(min=0)))


def _first_relevant(scores: Tensor, rows: Tensor, gains: "Gains | _GivenGains", top_gains: Tensor) -> Tensor:
    """(q,) place of the first relevant candidate: read off the list, counted for those that are not on it."""
    relevant = top_gains == 1
    rank = relevant.int().argmax(1) + 1
    late = (~relevant.any(1)).nonzero().squeeze(1)
    if len(late):
        scores, relevant = scores[late], gains.of(rows[late]) == 1
        best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
        # Where no relevant candidate was found, all others come before it, and it too is counted.
        rank[late] = (1 + _reaching(scores.masked_fill_(relevant, -torch.inf), best)).clamp(max=scores.shape[1])
    return rank


def _reaching(scores: Tensor, floor: Tensor) -> Tensor:
    """(q,) number of scores (q, N) not below the floor (q, 1)."""
    # Ones in float32 add up several times faster than booleans, and exactly up to 2^24 of them.
    return torch.ge(scores, floor, out=torch.empty_like(scores)).sum(1).long()


def _average_precision(relevant: Tensor, relevant_counts: Tensor) -> Tensor:
    """(N,) AP@10 of result lists (N, k)."""
    precision = relevant.double().cumsum(1) / torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    return (precision * relevant).sum(1) / relevant_counts.clamp(max=_DEPTH)


def _normalised_gain(found: Tensor, ideal: Tensor) -> Tensor:
    """(N,) nDCG of the gains found (N, k) against the best that could be found (N, k)."""
    discount = 1 / torch.arange(2, found.shape[1] + 2, dtype=found.dtype, device=found.device).log2()
    return (found @ discount) / (ideal @ discount)
