"""The page of a report: what was measured, put into the template, which escapes every text of a corpus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modeling_raclap.calibration_raclap import Calibration
from raclap.hub.lineage import TrainingData
from raclap.recipe import dump_recipe
from raclap.report.charts import HEIGHT, WIDTH, LineChart
from raclap.report.curves import LayerWeights
from raclap.report.embedding_map import EmbeddingMap
from raclap.report.finished_run import FinishedRun
from raclap.report.measured_corpus import MeasuredCorpus, Reading
from raclap.report.mistakes import Mistake
from raclap.report.reliability import Reliability
from raclap.report.sounds import SoundShelf
from raclap.report.style_similarity import StyleSimilarity
from raclap.retrieval.metrics import CEILINGS, METRICS
from raclap.retrieval.relevance import DIRECTIONS, Direction
from raclap.retrieval.reporting import ARROWS

_HERE = Path(__file__).parent
INSTANCE = METRICS[:5]
STYLE = METRICS[5:]


@dataclass(frozen=True, eq=False)
class Report:
    """All that a page shows.

    Attributes:
        run: what the run folder says.
        reading: which rows were read.
        corpora: measured.
        without: corpora that have no rows of the split.
        data: corpora that left their mark on the weights.
        licence: what the licences of the training data mean for the weights, a sentence each.
        facts: of the model: its towers, its size.
        training, validation: curves.
        logged: whether there are figures of every step.
        layers: α by tower.
        similarities: by corpus; None where styles are not known.
        map: of embeddings; None where there are too few pairs.
        calibration: of the model; None where it has none.
        reliability: of the calibration; None where it has none or the rows do not tell.
        mistakes: by corpus.
        shelf: clips in the page.
        command: that makes the page.
        versions: of what made it.
    """

    run: FinishedRun
    reading: Reading
    corpora: Sequence[MeasuredCorpus]
    without: Sequence[str]
    data: TrainingData
    licence: Sequence[str]
    facts: dict[str, str]
    training: Sequence[LineChart]
    validation: Sequence[LineChart]
    logged: bool
    layers: Sequence[LayerWeights]
    similarities: dict[str, StyleSimilarity | None]
    map: EmbeddingMap | None
    calibration: Calibration | None
    reliability: Reliability | None
    mistakes: dict[str, Sequence[Mistake]]
    shelf: SoundShelf
    command: str
    versions: dict[str, str]

    def mean(self, direction: Direction, metric: str) -> float:
        """A figure of one direction, averaged over corpora."""
        return mean(corpus.evaluation.interval(direction, metric).value for corpus in self.corpora)


def render_page(report: Report) -> str:
    """Writes the page: one HTML file that needs no other and no network."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fixed": _fixed, "cosine": _cosine}
    return environment.get_template("page.html.j2").render(
        report=report,
        run=report.run,
        arrows=ARROWS,
        directions=DIRECTIONS,
        instance=INSTANCE,
        style=STYLE,
        ceilings=CEILINGS,
        chart_size=(WIDTH, HEIGHT),
        recipe=dump_recipe(report.run.recipe),
        differences=list(recorded_differences(report)),
        map_data=_map_data(report),
        sounds=[sound.data for sound in report.shelf.sounds],
        stylesheet=(_HERE / "style.css").read_text(encoding="utf-8"),
        script=(_HERE / "script.js").read_text(encoding="utf-8"),
    )


def recorded_differences(report: Report) -> Iterator[tuple[float, str, str, str]]:
    """How far measured figures are from those that the run recorded of the same epoch: difference and place.

    Only validation rows can be compared; figures that the run did not record are left out.
    """
    if report.reading.split != "validation":
        return
    for corpus in report.corpora:
        recorded = report.run.reported["validation"].get(corpus.name, {})
        for direction, figures in corpus.evaluation.intervals.items():
            for metric, interval in figures.items():
                before = recorded.get(direction, {}).get(metric)
                if before is not None:
                    yield abs(interval.value - before), corpus.name, direction, metric


def _map_data(report: Report) -> dict[str, Any] | None:
    """What the script needs to know of the points."""
    if report.map is None:
        return None
    return {
        "pairs": [
            {
                "id": pair.clip_id,
                "corpus": pair.corpus,
                "caption": pair.caption,
                "values": [f"{name} {value}" for name, value in pair.values.items() if value is not None],
                "sound": report.shelf.number(pair.corpus, pair.row),
            }
            for pair in report.map.pairs
        ],
        "colourings": {
            own.name: {"labels": own.labels, "classes": own.classes, "of": own.of_pairs}
            for own in report.map.colourings
        },
    }


def _fixed(value: float, decimals: int = 1) -> str:
    """A figure with so many decimals; what rounds to zero has no sign."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _cosine(value: float) -> str:
    """A cosine, with two decimals."""
    return _fixed(value, 2)
