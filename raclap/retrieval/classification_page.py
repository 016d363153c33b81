"""The page of an evaluation by zero-shot classification, as Markdown. No figure on it is typed by hand."""

from collections.abc import Sequence

from raclap.retrieval.classification import MEASURES
from raclap.retrieval.classification_reporting import ClassificationEvaluation, by_task, chance
from raclap.retrieval.statistics import Interval


def render_page(
    evaluations: Sequence[ClassificationEvaluation], command: str, versions: dict[str, str], figure: str | None = None
) -> str:
    """Writes the page.

    Args:
        evaluations: at least one.
        command: that made them.
        versions: date, machine and libraries, as `raclap.provenance.versions` gives them.
        figure: the picture of confusion matrices, relative to the page.
    """
    first = evaluations[0]
    parts = [
        "# Zero-shot classification",
        f"Written on {versions['date']} by the command below ({versions['machine']}, torch {versions['torch']}, "
        f"transformers {versions['transformers']}); no figure was typed by hand.",
        f"```sh\n{command}\n```",
        f"Figures are percentages with 95 % intervals from {first.resamples} bootstrap resamples (seed {first.seed}), "
        f"in which whole speakers are drawn; with one speaker, or none known, clips are. Few speakers give intervals "
        f"that are too narrow. A class is the mean direction of its sentences, and a clip is taken for the nearest. "
        f"Averages are over the classes that occur among the labels; chance is an equal guess among all classes.",
    ]
    for task, models in by_task(evaluations).items():
        parts += [f"## {task}", _about(models[0]), _measures(models), _recalls(models)]
    if figure:
        parts.append(f"## Confusion matrices\n\n![Confusion matrices]({figure})")
    parts += ["## Sentences", *(_sentences(models[0]) for models in by_task(evaluations).values())]
    return "\n\n".join(parts) + "\n"


def _about(evaluation: ClassificationEvaluation) -> str:
    protocol, clips = evaluation.protocol, evaluation.clips
    drawn = f"{evaluation.speakers} speakers" if evaluation.speakers > 1 else "intervals over clips"
    left_out = "; ".join(f"{reason}: {count}" for reason, count in evaluation.left_out.items())
    first_bad = f" First bad recording: {evaluation.bad[0].reason}." if evaluation.bad else ""
    lines = [
        protocol.about,
        f"`{protocol.origin}`, labels from '{protocol.column}', split {evaluation.split}: {len(clips.rows)} clips, "
        f"{drawn}, {len(protocol.classes)} classes, chance {chance(evaluation):.1f} %.",
        f"Left out: {left_out}.{first_bad}" if left_out else "Nothing was left out.",
        protocol.source,
    ]
    return "\n".join(line for line in lines if line)


def _measures(models: Sequence[ClassificationEvaluation]) -> str:
    rows = [[model.model, *map(_value, model.measures.values())] for model in models]
    return _table(["model", *(name.replace("_", "-") for name in MEASURES)], rows)


def _recalls(models: Sequence[ClassificationEvaluation]) -> str:
    counts = models[0].scores.confusion.sum(1).tolist()
    rows = []
    for name, count in zip(models[0].protocol.classes, counts, strict=True):
        found = [model.scores.recalls.get(name) for model in models]
        rows.append([name, str(count), *("none" if interval is None else _value(interval) for interval in found)])
    return _table(["recall of", "clips", *(model.model for model in models)], rows)


def _sentences(evaluation: ClassificationEvaluation) -> str:
    rows = [[name, " · ".join(sentences)] for name, sentences in evaluation.protocol.prompts.items()]
    return f"{evaluation.task}:\n\n{_table(['class', 'sentences'], rows, numbers=False)}"


def _value(interval: Interval) -> str:
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    sides = ["---", *(["---:" if numbers else "---"] * (len(heads) - 1))]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (heads, sides, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
