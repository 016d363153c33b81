"""Results of zero-shot classification: a table to read, JSON to keep.

A task is a protocol on a corpus; one or several models do one or several tasks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from raclap.data.inspection import Skipped
from raclap.retrieval.classification import MEASURES, ClassificationScores
from raclap.retrieval.protocol import Protocol
from raclap.retrieval.statistics import Interval
from raclap.retrieval.zero_shot import ClassifiedClips


@dataclass(frozen=True, eq=False)
class ClassificationEvaluation:
    """One model on one task.

    Attributes:
        model: name, as it is to be read.
        corpus: name of the corpus.
        split: rows that were classified.
        protocol: classes and prompts.
        clips: what the model took them for.
        bad: rows whose recordings could not be used, and why.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    model: str
    corpus: str
    split: str
    protocol: Protocol
    clips: ClassifiedClips
    bad: Sequence[Skipped] = ()
    resamples: int = 2000
    seed: int = 0

    @property
    def task(self) -> str:
        """Protocol and corpus, by which results are told apart."""
        return f"{self.protocol.name} on {self.corpus}"

    @cached_property
    def scores(self) -> ClassificationScores:
        """Measures with their intervals, drawn when first asked for."""
        return self.clips.scores(self.protocol.classes, self.resamples, self.seed)

    @property
    def measures(self) -> dict[str, Interval]:
        """The figures that are reported, in percent."""
        return self.scores.measures

    @property
    def speakers(self) -> int:
        """Number of speakers that are known."""
        return len(set(self.clips.speakers) - {None})

    @property
    def left_out(self) -> dict[str, int]:
        """Rows of the split that were not classified, by reason."""
        return {**self.clips.left_out, **({"bad recording": len(self.bad)} if self.bad else {})}


def by_task(evaluations: Sequence[ClassificationEvaluation]) -> dict[str, list[ClassificationEvaluation]]:
    """Evaluations of each task, in the order in which they were made."""
    tasks: dict[str, list[ClassificationEvaluation]] = {}
    for evaluation in evaluations:
        tasks.setdefault(evaluation.task, []).append(evaluation)
    return tasks


def classification_json(
    evaluations: Sequence[ClassificationEvaluation], command: str, versions: dict[str, str]
) -> dict[str, Any]:
    """Results, and what it takes to repeat them.

    Returns:
        `command`, `versions`, `seed`, `resamples`; `tasks`: `{task: what was classified and how}`; `results`:
        `{model: {task: {"accuracy", "UAR", "macro_F1": {"value", "low", "high"}, "recall": {class: the same},
        "confusion": [[clips of a class taken for a class]]}}}`.
    """
    results: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        results.setdefault(evaluation.model, {})[evaluation.task] = {
            **{name: asdict(interval) for name, interval in evaluation.measures.items()},
            "recall": {name: asdict(interval) for name, interval in evaluation.scores.recalls.items()},
            "confusion": evaluation.scores.confusion.tolist(),
        }
    first = evaluations[0]
    return {
        "command": command,
        "versions": versions,
        "seed": first.seed,
        "resamples": first.resamples,
        "tasks": {task: _task(models[0]) for task, models in by_task(evaluations).items()},
        "results": results,
    }


def classification_table(evaluations: Sequence[ClassificationEvaluation]) -> Table:
    """A table for the terminal: value ± half the interval, the best of a task in bold."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption="± half a 95 % bootstrap interval", caption_justify="left")
    for heading in ("task", "clips", "chance", "model"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("clips", "chance") else "left")
    for measure in MEASURES:
        table.add_column(measure.replace("_", "-"), justify="right")
    for task, models in by_task(evaluations).items():
        best = {name: max(model.measures[name].value for model in models) for name in MEASURES}
        for number, model in enumerate(models):
            facts = (task, str(len(model.clips.rows)), f"{chance(model):.1f}") if not number else ("", "", "")
            cells = [
                _cell(interval, len(models) > 1 and interval.value == best[name])
                for name, interval in model.measures.items()
            ]
            table.add_row(*facts, model.model, *cells)
        table.add_section()
    return table


def chance(evaluation: ClassificationEvaluation) -> float:
    """The unweighted average recall of guessing among the classes, in percent."""
    return 100 / len(evaluation.protocol.classes)


def _task(evaluation: ClassificationEvaluation) -> dict[str, Any]:
    protocol = evaluation.protocol
    return {
        "protocol": protocol.origin,
        "corpus": evaluation.corpus,
        "split": evaluation.split,
        "column": protocol.column,
        "clips": len(evaluation.clips.rows),
        "speakers": evaluation.speakers,
        "left_out": evaluation.left_out,
        "bad_recordings": [asdict(each) for each in evaluation.bad],
        "classes": list(protocol.classes),
        "prompts": {name: list(sentences) for name, sentences in protocol.prompts.items()},
    }


def _cell(interval: Interval, is_best: bool) -> Text:
    return Text.assemble((f"{interval.value:.1f}", "bold" if is_best else ""), (f" ±{interval.half_width:.1f}", "dim"))
