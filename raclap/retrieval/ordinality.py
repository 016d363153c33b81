"""Whether similarities are in the order of emotions, and how far apart clips and captions lie.

EmotionRankCLAP's evaluation: a query has a place in valence (and in arousal), and so has every candidate. Kendall's
τ-b compares the order of the candidates by similarity with their order by closeness, -|Δ valence|: 1 where the closest
always are the most similar, 0 where the two orders have nothing to do with one another, -1 where they are opposite.
Ties on either side are τ-b's to handle, so labels of few values are welcome.

What is left out depends on labels alone, never on the model, so that models can be compared query by query: a row
without a value is neither query nor candidate in that dimension (it may have the other one), and a query to which all
candidates are equally close has no order. A model that gives all candidates the same similarity gets τ = 0.

Shapes: N and M rows, D joint size, q queries, c candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import kendalltau
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from raclap.data.manifest import Manifest
from raclap.errors import RaClapError
from raclap.retrieval.metrics import EmbeddingError, finite, full_float32
from raclap.retrieval.relevance import DIRECTIONS, Direction

DIMENSIONS = ("valence", "arousal")
TAUS = tuple(f"tau_{dimension}" for dimension in DIMENSIONS)

MAX_ROWS = 2000

_TILE = 256
_MMD_ROWS = 1000
# Differences that are equal on paper, such as 0.3 - 0.2 and 0.2 - 0.1, differ by rounding: they are to tie.
_DECIMALS = 9


class OrderError(RaClapError):
    """Labels give no order to measure."""


@dataclass(frozen=True, slots=True)
class OrderSample:
    """What the τ of one dimension was measured on.

    Attributes:
        unlabelled: rows without a value.
        rows: labelled rows that were measured, each a query and a candidate in either direction.
    """

    unlabelled: int
    rows: int


@dataclass(frozen=True, eq=False)
class DirectionOrder:
    """Kendall's τ-b of each of N queries of one direction.

    Attributes:
        taus: (N,) by name, some of `TAUS`; NaN where the row was not measured.
    """

    taus: dict[str, np.ndarray]

    def values(self, metric: str) -> np.ndarray:
        """(N,) τ in [-1, 1], NaN where the row was not measured: leave these out before taking a mean.

        Args:
            metric: one of `TAUS`, or `tau` for the mean of those that there are.

        Raises:
            ValueError: it was not measured.
        """
        if metric == "tau":
            return np.mean(list(self.taus.values()), axis=0)
        if metric not in self.taus:
            raise ValueError(f"no '{metric}'; there are {', '.join(self.taus)} and tau")
        return self.taus[metric]


@dataclass(frozen=True, eq=False)
class OrdinalityScores:
    """Order of both directions, and the distance between the modalities.

    The rows that are measured are the same in both directions and with every model.

    Attributes:
        audio_to_text, text_to_audio: τ of each row's clip and of each row's caption, as queries.
        modality_gap: distance of the centroid of the clips from that of the captions.
        mmd: squared maximum mean discrepancy between clips and captions.
        mmd_rows: clips, and captions, that it was measured on.
        samples: what each of `metrics` was measured on.
    """

    audio_to_text: DirectionOrder
    text_to_audio: DirectionOrder
    modality_gap: float
    mmd: float
    mmd_rows: int
    samples: dict[str, OrderSample]

    def __getitem__(self, direction: Direction) -> DirectionOrder:
        return getattr(self, direction)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The `TAUS` that were measured."""
        return tuple(self.samples)

    def measured(self, metric: str) -> np.ndarray:
        """(N,) whether each row has a value of the metric, one of `metrics` or `tau`; the same in both directions."""
        return ~np.isnan(self.audio_to_text.values(metric))

    def summary(self) -> dict[str, Any]:
        """`{direction: {metric: mean}, "modality_gap": …, "mmd": …, "mmd_rows": …, "samples": {metric: …}}`."""
        taus = {
            direction: {metric: float(np.nanmean(self[direction].values(metric))) for metric in self.metrics}
            for direction in DIRECTIONS
        }
        samples = {metric: asdict(sample) for metric, sample in self.samples.items()}
        gap = {"modality_gap": self.modality_gap, "mmd": self.mmd, "mmd_rows": self.mmd_rows}
        return {**taus, **gap, "samples": samples}


def order_labels(manifest: Manifest) -> dict[str, np.ndarray]:
    """The dimensions in which a manifest has values: (N,) float64 by name, NaN where a row has none.

    Raises:
        OrderError: all values of a dimension are equal, or one is infinite; the message names the column, and the row.
    """
    labels = {}
    for dimension in DIMENSIONS:
        values = np.array(manifest.column(dimension), np.float64)
        if not np.isnan(values).all():
            _check_order(values, f"{manifest.path}: column '{dimension}'", lambda row: manifest[row].pair_id)
            labels[dimension] = values
    return labels


def rank_order(
    audio_embeds: Tensor,
    text_embeds: Tensor,
    labels: Mapping[str, Sequence[float]],
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> OrdinalityScores:
    """Measures the order of similarities in both directions, and the gap between the modalities.

    Args:
        audio_embeds: (N, D) unit vectors.
        text_embeds: (N, D) unit vectors; row i describes clip i.
        labels: (N,) values by dimension, some of `DIMENSIONS` and at least one; NaN where unknown.
        max_rows: at most so many labelled rows are queries and candidates, drawn at random: n of them take time
            O(n² log n).
        seed: of the draw.

    Raises:
        EmbeddingError: the numbers of rows differ, there are fewer than two or a row is not finite.
        OrderError: all labels of a dimension are equal, or all that were drawn, or one is infinite.

    Example:
        >>> angle = torch.tensor([0.0, 0.1, 0.4, 1.0])
        >>> embeds = torch.stack([angle.cos(), angle.sin()], dim=1)
        >>> rank_order(embeds, embeds, {"valence": [1.0, 1.1, 1.4, 2.0]}).summary()["audio_to_text"]
        {'tau_valence': 1.0}
    """
    rows = {len(audio_embeds), len(text_embeds), *map(len, labels.values())}
    if not labels or len(rows) != 1 or max(rows) < 2:
        raise EmbeddingError(
            f"{len(audio_embeds)} audio embeddings, {len(text_embeds)} text embeddings and labels of "
            f"{[len(values) for values in labels.values()]} rows: there must be equally many, at least two"
        )
    audio, text = finite(audio_embeds, "audio"), finite(text_embeds, "text")
    taus: dict[Direction, dict[str, np.ndarray]] = {direction: {} for direction in DIRECTIONS}
    samples = {}
    for dimension, given in labels.items():
        values = np.asarray(given, np.float64)
        _check_order(values, dimension)
        drawn = _drawn(values, max_rows, seed)
        if not np.ptp(values[drawn]):
            raise OrderError(f"{dimension}: the {len(drawn)} rows drawn have one value: no order to measure")
        metric = f"tau_{dimension}"
        taus["audio_to_text"][metric] = _taus(audio, text, values, drawn)
        taus["text_to_audio"][metric] = _taus(text, audio, values, drawn)
        samples[metric] = OrderSample(int(np.isnan(values).sum()), len(drawn))
    return OrdinalityScores(
        audio_to_text=DirectionOrder(taus["audio_to_text"]),
        text_to_audio=DirectionOrder(taus["text_to_audio"]),
        modality_gap=modality_gap(audio, text),
        mmd=mmd(audio, text, seed=seed),
        mmd_rows=min(len(audio), _MMD_ROWS),
        samples=samples,
    )


def similarity_order(
    similarities: Sequence[Sequence[float]],
    query_values: Sequence[float | None],
    candidate_values: Sequence[float | None] | None = None,
) -> np.ndarray:
    """Kendall's τ-b of each query from similarities that are already there.

    Args:
        similarities: (q, c), finite.
        query_values: (q,) labels; None or NaN where unknown.
        candidate_values: (c,) labels, likewise; None takes those of the queries, row and column i being a pair.

    Returns:
        (q,) τ; NaN where the label is unknown or all candidates are equally close.

    Raises:
        EmbeddingError: the shapes do not fit one another, or a similarity is not finite.
        OrderError: all candidates have one label, no query has any, or a label is infinite.
    """
    queries = np.asarray(query_values, np.float64)
    candidates = queries if candidate_values is None else np.asarray(candidate_values, np.float64)
    for query, row in enumerate(similarities):
        if len(row) != len(candidates) or not np.isfinite(row).all():
            raise EmbeddingError(f"query {query}: expected {len(candidates)} finite similarities, one a candidate")
    if len(similarities) != len(queries):
        raise EmbeddingError(f"{len(similarities)} rows of similarities for {len(queries)} queries")
    _check_order(candidates, "candidates")
    known, labelled = ~np.isnan(queries), ~np.isnan(candidates)
    if not known.any() or np.isinf(queries).any():
        raise OrderError("queries: expected a finite label, of one at least")
    taus = np.full(len(queries), np.nan)
    taus[known] = order_taus(
        np.asarray(similarities, np.float64)[known][:, labelled], queries[known], candidates[labelled]
    )
    return taus


def order_taus(similarities: np.ndarray, query_values: np.ndarray, candidate_values: np.ndarray) -> np.ndarray:
    """Kendall's τ-b between similarity and closeness in value, -|Δ|, of each query.

    Args:
        similarities: (q, c), finite.
        query_values: (q,), finite.
        candidate_values: (c,), finite.

    Returns:
        (q,) in [-1, 1]: 0 where all similarities are equal, NaN where all candidates are equally close.

    Example:
        >>> order_taus(np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]]), np.array([1.0, 3.0]), np.array([1.0, 2.0, 3.0]))
        array([ 1., -1.])
    """
    distances = np.abs(candidate_values - query_values[:, None])
    closeness = -np.round(distances / (np.ptp(candidate_values) or 1.0), _DECIMALS)
    return np.array([_tau(*rows) for rows in zip(similarities, closeness, strict=True)])


def modality_gap(audio_embeds: Tensor, text_embeds: Tensor) -> float:
    """Distance between the centroids of the two modalities (Liang et al., 2022); embeddings (N, D) and (M, D)."""
    return float((audio_embeds.double().mean(0) - text_embeds.double().mean(0)).norm())


def mmd(audio_embeds: Tensor, text_embeds: Tensor, rows: int = _MMD_ROWS, seed: int = 0) -> float:
    """Squared maximum mean discrepancy between the two modalities, unbiased (Gretton et al., 2012, equation 3).

    The kernel is Gaussian, exp(-d² / 2σ²), with σ the median distance between two different points of either modality.

    Args:
        audio_embeds: (N, D), at least two.
        text_embeds: (M, D), at least two.
        rows: at most so many of each are looked at, drawn at random.
        seed: of the draw.

    Returns:
        0 on average where both are drawn from one distribution, and so at times a little below it.

    Raises:
        EmbeddingError: there are fewer than two of one modality.
    """
    if min(len(audio_embeds), len(text_embeds)) < 2:
        raise EmbeddingError("the discrepancy of two modalities needs at least two embeddings of each")
    rng = np.random.default_rng(seed)
    audio, text = (
        embeds[np.sort(rng.permutation(len(embeds))[:rows])].double().cpu().numpy()
        for embeds in (audio_embeds, text_embeds)
    )
    distances = pdist(np.concatenate([audio, text]))
    distances = distances[distances > 0]
    if not len(distances):
        return 0.0
    gamma = 1 / (2 * np.median(distances) ** 2)
    within = _mean_of_others(rbf_kernel(audio, gamma=gamma)) + _mean_of_others(rbf_kernel(text, gamma=gamma))
    return within - 2 * float(rbf_kernel(audio, text, gamma=gamma).mean())


def _mean_of_others(kernel: np.ndarray) -> float:
    """Mean of a kernel (m, m) without its diagonal."""
    m = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (m * (m - 1)))


def _check_order(values: np.ndarray, where: str, name_of: Callable[[int], str] = str) -> None:
    known = values[~np.isnan(values)]
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise OrderError(f"{where}: the value of row {name_of(int(infinite[0]))} is infinite; expected a number")
    if not len(known):
        raise OrderError(f"{where}: no row has a value: no order to measure")
    if (known == known[0]).all():
        raise OrderError(
            f"{where}: no order to measure: rows with a value: {len(known)}, and all have {known[0]:g}; "
            "expected two different values at least"
        )


def _drawn(values: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Labelled rows, in order, at most so many."""
    return np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(~np.isnan(values)))[:rows])


def _taus(asking: Tensor, asked: Tensor, values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(N,) τ of the rows drawn, NaN elsewhere."""
    # A product may round equal columns differently: equal candidates are scored once, so that they tie.
    distinct, place = torch.unique(asked[drawn], dim=0, return_inverse=True)
    found = np.full(len(values), np.nan)
    with full_float32():
        for first in range(0, len(drawn), _TILE):
            rows = drawn[first : first + _TILE]
            similarities = (asking[rows] @ distinct.T)[:, place].cpu().numpy()
            found[rows] = order_taus(similarities, values[rows], values[drawn])
    return found


def _tau(similarity: np.ndarray, closeness: np.ndarray) -> float:
    if (closeness == closeness[0]).all():
        return np.nan
    if (similarity == similarity[0]).all():
        return 0.0
    return float(kendalltau(similarity, closeness).statistic)
