"""Fitting what a model's cosines mean: Platt scaling, and the cosines of clips and captions that are no pair.

Of each clip its own caption fits; captions of other clips, drawn at random, do not, unless they hold for the clip by
style or say the same words. Both kinds weigh the same (a probability is one at even odds), and so do corpora.

Shapes: N pairs of a corpus, D joint size, n samples (cosines with a label), Q quantiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import GroupKFold
from torch import Tensor

from modeling_raclap.calibration_raclap import Calibration
from raclap.data.attributes import share_of
from raclap.data.manifest import Manifest
from raclap.errors import RaClapError
from raclap.retrieval.embed import PairEmbeddings
from raclap.retrieval.relevance import StyleRelevance

FEWEST_CLIPS = 20
_MOST_CLIPS = 10_000  # of a corpus; more would not change the second digit
_OTHERS = 4  # captions a clip that do not fit
_REDRAWS = 32  # before all captions are looked at, for clips that most of them fit
_RANDOM_PAIRS = 20_000  # of a corpus, for the quantiles
_PERCENT = 101  # quantiles
_FOLDS = 5
_BINS = 10  # of the calibration error
_TILE = 2**15  # rows whose embeddings are held twice


class CalibrationError(RaClapError):
    """A model cannot be calibrated on the pairs at hand."""


@dataclass(frozen=True, eq=False)
class CalibrationPairs:
    """Embedded pairs of one corpus.

    Attributes:
        audio, text: (N, D) unit vectors; row i of both is a pair.
        relevance: which captions hold for which clips.
        captions: N sentences.
        speakers: N names; None where not known.
    """

    audio: Tensor
    text: Tensor
    relevance: StyleRelevance
    captions: Sequence[str]
    speakers: Sequence[str | None]

    @classmethod
    def of_manifest(
        cls, embeds: PairEmbeddings, manifest: Manifest, relevance: StyleRelevance | None = None
    ) -> "CalibrationPairs":
        """Pairs of a manifest and their embeddings.

        Args:
            embeds: of its clips and first captions.
            manifest: the rows.
            relevance: of the rows, where it is at hand.
        """
        relevance = StyleRelevance.from_manifest(manifest) if relevance is None else relevance
        captions = [sentences[0] for sentences in manifest.caption_texts()]
        return cls(embeds.audio, embeds.text, relevance, captions, manifest.column("speaker"))

    def __len__(self) -> int:
        return len(self.audio)


@dataclass(frozen=True, eq=False)
class LabelledCosines:
    """Cosines of clips with captions that fit and with captions that do not.

    Attributes:
        cosine: (n,) float64.
        fits: (n,) bool.
        weight: (n,) float64; each corpus weighs 1, half of it on captions that fit.
        group: (n,) int64; samples of one speaker (of one clip, where the speaker is not known) share a number.
    """

    cosine: np.ndarray
    fits: np.ndarray
    weight: np.ndarray
    group: np.ndarray


def fit_calibration(corpora: Mapping[str, CalibrationPairs], seed: int = 0) -> Calibration:
    """Fits probabilities and percentiles on pairs that the model was not trained on.

    The probability is one at even odds: as if one caption that fits were shown for each that does not. `facts` says
    how well it fits, by cross-validation over speakers: log loss (0.693 for a model that knows nothing), Brier score
    (0.25 for that), and the expected calibration error (0 is best), which is the mean distance of probability and
    frequency over ten bins.

    Args:
        corpora: embedded pairs by name; all weigh the same. Of a large corpus 10,000 clips are drawn.
        seed: of what is drawn.

    Raises:
        CalibrationError: there are too few pairs, every caption holds for every clip, an embedding is not finite, or
            captions that fit have no higher cosines than others.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999; calibration error: Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017.
    """
    drawn = _draw_all(corpora, seed)
    clips = {name: int(own.fits.sum()) for name, (own, _) in drawn.items()}
    _check_enough(corpora, clips)
    samples = _pool([own for own, _ in drawn.values() if len(own.fits)])
    random = np.concatenate([cosines for _, cosines in drawn.values()])
    if not (np.isfinite(samples.cosine).all() and np.isfinite(random).all()):
        raise CalibrationError("an embedding is not finite: the weights of the model are damaged")
    slope, intercept = fit_platt(samples)
    if slope <= 0:
        raise CalibrationError(
            f"captions that fit have no higher cosines than others on {', '.join(corpora)}: the model does not tell "
            f"them apart, so its cosines have no meaning"
        )
    facts = {"clips": clips, "seed": seed, **goodness_of_fit(samples)}
    quantiles = [round(value, 6) for value in null_quantiles(random).tolist()]
    return Calibration(float(f"{slope:.7g}"), float(f"{intercept:.7g}"), tuple(quantiles), facts)


def labelled_cosines(corpora: Mapping[str, CalibrationPairs], seed: int = 0) -> LabelledCosines:
    """The cosines that `fit_calibration` fits probabilities on: of captions that fit, and of as many that do not.

    Args:
        corpora, seed: see `fit_calibration`.

    Raises:
        CalibrationError: there are too few pairs, or every caption holds for every clip.
    """
    drawn = {name: own for name, (own, _) in _draw_all(corpora, seed).items()}
    _check_enough(corpora, {name: int(own.fits.sum()) for name, own in drawn.items()})
    return _pool([own for own in drawn.values() if len(own.fits)])


def null_quantiles(cosines: np.ndarray) -> np.ndarray:
    """(101,) quantiles of 0, 1, ..., 100 % of cosines (n,), straight lines between neighbouring values."""
    return np.quantile(cosines, np.linspace(0, 1, _PERCENT))


def fit_platt(samples: LabelledCosines) -> tuple[float, float]:
    """Slope and intercept of Platt scaling, by maximum likelihood without a penalty.

    As in the paper (section 2.2) the targets are (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) in place of 1 and 0, so that the
    slope stays finite where cosines tell the two kinds apart without a mistake.
    """
    fits, others = samples.fits.sum(), (~samples.fits).sum()
    target = np.where(samples.fits, (fits + 1) / (fits + 2), 1 / (others + 2))
    centre = np.average(samples.cosine, weights=samples.weight)
    spread = np.sqrt(np.average((samples.cosine - centre) ** 2, weights=samples.weight))
    if spread < 1e-7:  # all cosines are equal in single precision
        return 0.0, 0.0
    # A soft target is a sample of either label; at unit spread the solver's tolerance means the same for all models.
    cosines = np.tile((samples.cosine - centre) / spread, 2)[:, None]
    labels = np.repeat([1, 0], len(target))
    weights = np.concatenate([target, 1 - target]) * np.tile(samples.weight / samples.weight.mean(), 2)
    logistic = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8).fit(cosines, labels, weights)
    slope = float(logistic.coef_[0, 0]) / spread
    return slope, float(logistic.intercept_[0]) - slope * centre


def goodness_of_fit(samples: LabelledCosines) -> dict[str, float]:
    """Log loss, Brier score and calibration error of samples by fits on the others; a speaker's stay together."""
    probability = np.empty(len(samples.cosine))
    folds = GroupKFold(min(_FOLDS, len(np.unique(samples.group))))
    for rest, held_out in folds.split(samples.cosine, groups=samples.group):
        slope, intercept = fit_platt(_some(samples, rest))
        probability[held_out] = 1 / (1 + np.exp(-slope * samples.cosine[held_out] - intercept))
    figures = {
        "log_loss": log_loss(samples.fits, probability, sample_weight=samples.weight),
        "brier": brier_score_loss(samples.fits, probability, sample_weight=samples.weight),
        "calibration_error": _calibration_error(probability, samples.fits, samples.weight),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _calibration_error(probability: np.ndarray, fits: np.ndarray, weight: np.ndarray) -> float:
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(place, weight * (probability - fits), _BINS)
    return np.abs(gaps).sum() / weight.sum()


def _check_enough(corpora: Mapping[str, CalibrationPairs], clips: Mapping[str, int]) -> None:
    pairs, usable = sum(map(len, corpora.values())), sum(clips.values())
    if pairs < FEWEST_CLIPS:
        raise CalibrationError(f"{pairs} pairs; a calibration needs at least {FEWEST_CLIPS}")
    if not usable:
        raise CalibrationError("every caption holds for every clip: there is none that does not fit")
    if usable < FEWEST_CLIPS:
        raise CalibrationError(
            f"{usable} of {pairs} clips have a caption that does not fit; a calibration needs {FEWEST_CLIPS}"
        )


def _draw_all(corpora: Mapping[str, CalibrationPairs], seed: int) -> dict[str, tuple[LabelledCosines, np.ndarray]]:
    """What `_draw` draws of each corpus; what is drawn of one does not depend on the others."""
    return {name: _draw(pairs, np.random.default_rng([seed, *name.encode()])) for name, pairs in corpora.items()}


def _draw(pairs: CalibrationPairs, rng: np.random.Generator) -> tuple[LabelledCosines, np.ndarray]:
    """Labelled cosines of one corpus, and the cosines of random clips with captions that are not theirs."""
    rows = np.arange(len(pairs))
    if len(rows) > _MOST_CLIPS:
        rows = np.sort(rng.choice(len(rows), _MOST_CLIPS, replace=False))
    rows, others = draw_others(pairs, rows, _OTHERS, rng)
    _, speakers = np.unique(_speakers(pairs, rows), return_inverse=True)
    cosine = np.concatenate([_cosines(pairs, rows, rows), _cosines(pairs, rows.repeat(_OTHERS), others.ravel())])
    fits = np.arange(len(cosine)) < len(rows)
    weight = np.where(fits, 1.0, 1 / _OTHERS) / max(2 * len(rows), 1)
    labelled = LabelledCosines(cosine, fits, weight, np.concatenate([speakers, speakers.repeat(_OTHERS)]))
    if len(pairs) < 2:
        return labelled, np.empty(0)
    clips = rng.integers(len(pairs), size=_RANDOM_PAIRS)
    return labelled, _cosines(pairs, clips, _other_rows(clips, len(pairs), rng))


def draw_others(
    pairs: CalibrationPairs, rows: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws captions that do not hold for a clip, each with the same chance, with replacement.

    Args:
        pairs: the corpus.
        rows: (n,) clips.
        count: captions a clip.
        rng: to draw with.

    Returns:
        (m,) those clips that some caption does not hold for, and (m, count) rows of captions.
    """
    _, words = np.unique(np.asarray(pairs.captions, dtype=object).astype(str), return_inverse=True)
    clips = rows.repeat(count)
    others = np.full(len(clips), -1)
    open_places = np.arange(len(clips)) if len(pairs) > 1 else np.empty(0, int)
    for _ in range(_REDRAWS):
        if not len(open_places):
            break
        drawn = _other_rows(clips[open_places], len(pairs), rng)
        good = _do_not_fit(pairs, words, clips[open_places], drawn)
        others[open_places[good]] = drawn[good]
        open_places = open_places[~good]
    for row in np.unique(clips[open_places]).tolist():
        candidates = np.flatnonzero(_do_not_fit(pairs, words, np.array([row]), np.arange(len(pairs))))
        places = open_places[clips[open_places] == row]
        if len(candidates):
            others[places] = rng.choice(candidates, len(places))
    others = others.reshape(len(rows), count)
    kept = (others >= 0).all(1)
    return rows[kept], others[kept]


def _do_not_fit(pairs: CalibrationPairs, words: np.ndarray, clips: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Which captions neither hold for their clips nor say the words of its own; clips (n,) or (1,), captions (n,)."""
    held, wanted = pairs.relevance.held[torch.from_numpy(clips)], pairs.relevance.wanted[torch.from_numpy(captions)]
    return (share_of(held, wanted) < 1).cpu().numpy() & (words[clips] != words[captions])


def _other_rows(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """A random one of all rows but its own for each."""
    drawn = rng.integers(count - 1, size=len(rows))
    return drawn + (drawn >= rows)


def _speakers(pairs: CalibrationPairs, rows: np.ndarray) -> list[str]:
    """Who speaks each clip; where nobody is known, or one speaker alone, each clip counts as another one."""
    speakers = [pairs.speakers[row] for row in rows]
    alone = len({*speakers} - {None}) < 2
    return [f"clip {row}" if alone or own is None else own for row, own in zip(rows, speakers, strict=True)]


def _cosines(pairs: CalibrationPairs, clips: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """(n,) cosines of the named clips with the named captions."""
    tiles = zip(torch.from_numpy(clips).split(_TILE), torch.from_numpy(captions).split(_TILE), strict=True)
    parts = [(pairs.audio[own].double() * pairs.text[other].double()).sum(1).numpy() for own, other in tiles]
    return np.concatenate([*parts, np.empty(0)])


def _pool(corpora: Sequence[LabelledCosines]) -> LabelledCosines:
    """All samples; speakers of different corpora are different ones."""
    firsts = np.cumsum([0, *(int(own.group.max()) + 1 for own in corpora[:-1])])
    groups = [own.group + first for own, first in zip(corpora, firsts, strict=True)]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(own, name) for own in corpora]) for name in ("cosine", "fits", "weight")
    }
    return LabelledCosines(**columns, group=np.concatenate(groups))


def _some(samples: LabelledCosines, places: np.ndarray) -> LabelledCosines:
    return LabelledCosines(*(values[places] for values in vars(samples).values()))
