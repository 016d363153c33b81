"""Results that a card shows: of this model alone, with the intervals that were found with them.

Figures are as the run and evaluate_retrieval.py write them, `{corpus: {direction: {metric: {"value", "low",
"high"}}}}`; nothing is computed here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raclap.errors import RaClapError
from raclap.provenance import weights_digests

DIRECTIONS = {"audio_to_text": "audio → text", "text_to_audio": "text → audio"}
METRICS = ("R@1", "R@5", "R@10", "mAP@10", "median_rank", "nDCG@10", "style_mAP@10", "tau_valence", "tau_arousal")

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]


class ResultsError(RaClapError):
    """A file of results does not hold what a card could show."""


@dataclass(frozen=True)
class Figures:
    """Results on the rows of one split.

    Attributes:
        split: of the manifests.
        results: `{corpus: {direction: {metric: {"value"[, "low", "high"]}}}}`.
        resamples: of the bootstrap that the intervals are of; None where there are none.
        clips: how many were evaluated, by corpus; empty where not known.
    """

    split: str
    results: Results
    resamples: int | None = None
    clips: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def without_intervals(cls, split: str, results: Mapping[str, Any]) -> "Figures":
        """Of bare values, `{corpus: {direction: {metric: value}}}`; what stands beside the directions is left out."""
        return cls(
            split,
            {
                corpus: {
                    direction: {metric: {"value": value} for metric, value in found[direction].items()}
                    for direction in DIRECTIONS
                }
                for corpus, found in results.items()
            },
        )

    def with_intervals(self, found: Results, resamples: int) -> "Figures":
        """The same values with the bounds that were found for them."""
        results = {
            corpus: {
                direction: {
                    metric: {**found[corpus][direction].get(metric, {}), **value} for metric, value in cells.items()
                }
                for direction, cells in directions.items()
            }
            for corpus, directions in self.results.items()
        }
        return replace(self, results=results, resamples=resamples)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of `METRICS` that every corpus has in both directions."""
        cells = [found[direction] for found in self.results.values() for direction in DIRECTIONS]
        return tuple(metric for metric in METRICS if all(metric in cell for cell in cells))

    def only(self, corpora: Sequence[str]) -> "Figures":
        """The figures of some of the corpora."""
        return replace(self, results={name: self.results[name] for name in corpora})


def zero_shot_figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """`{corpus: {metric: {"value", "low", "high"}}}` of a validation's results; empty where none was asked for."""
    return {corpus: found["zero_shot"] for corpus, found in results.items() if "zero_shot" in found}


def read_figures(path: Path, folder: Path) -> Figures:
    """The figures of one model from what evaluate_retrieval.py wrote (`NAME.intervals.json`).

    Args:
        path: of the file.
        folder: of the model; its weights tell which of the models in the file it is.

    Raises:
        ResultsError: the file cannot be read, does not say which weights its figures are of, or is of other models.
    """
    values = _read(path)
    protocol, models = values.get("protocol"), values.get("models")
    if not isinstance(protocol, dict) or not isinstance(models, dict):
        raise ResultsError(
            f"{path}: does not say which weights its figures are of; evaluate the model again with "
            f"evaluate_retrieval.py --output"
        )
    ours = weights_digests(folder)
    try:
        name = next((name for name, model in models.items() if model["weights"] == ours), None)
        if name is None:
            raise ResultsError(
                f"{path}: holds figures of {', '.join(models) or 'no model'}; none has the weights of {folder}"
            )
        return Figures(
            split=protocol["split"],
            results={corpus: _directions(found) for corpus, found in values["results"][name].items()},
            resamples=protocol["resamples"],
            clips=protocol["clips"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{path}: not what evaluate_retrieval.py writes beside its --output ({type(error).__name__}: {error})"
        ) from error


def gather_figures(
    folder: Path, named: Sequence[Path], found: Sequence[Path], known: Sequence[Figures]
) -> list[Figures]:
    """The figures of one model from several files.

    Args:
        folder: of the model.
        named: files that must be of this model.
        found: files that may be; those that are not, or repeat what is known, are passed over.
        known: figures that the card has already.

    Raises:
        ResultsError: as `read_figures`, for a named file; or two of them have figures of one corpus and split.
    """
    have = {(each.split, corpus): "the run's own figures" for each in known for corpus in each.results}
    gathered = []
    for path in named:
        figures = read_figures(path, folder)
        for corpus in figures.results:
            if (figures.split, corpus) in have:
                raise ResultsError(
                    f"{path}: figures of '{corpus}', {figures.split}, are there already, from "
                    f"{have[figures.split, corpus]}"
                )
            have[figures.split, corpus] = str(path)
        gathered.append(figures)
    for path in found:
        try:
            figures = read_figures(path, folder)
        except ResultsError:
            continue
        new = [corpus for corpus in figures.results if (figures.split, corpus) not in have]
        have |= {(figures.split, corpus): str(path) for corpus in new}
        gathered += [figures.only(new)] if new else []
    return gathered


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ResultsError(f"{path}: not what evaluate_retrieval.py writes beside its --output")
    return values


def _directions(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Retrieval in both directions, and the τ that stand beside them."""
    order = found.get("ordinality", {})
    return {direction: {**found[direction], **order.get(direction, {})} for direction in DIRECTIONS}
