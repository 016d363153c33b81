"""From a run folder to its page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from modeling_raclap import RaClapModel
from modeling_raclap.calibration_raclap import Calibration
from raclap.data.collection import select_rows
from raclap.errors import ManifestError
from raclap.files import write_text
from raclap.hub.licences import licence_of_weights
from raclap.model_folder import load_model_folder
from raclap.processes import join_processes
from raclap.provenance import versions
from raclap.recipe import CorpusRecipe, Recipe
from raclap.report.curves import layer_weights, training_curves, validation_curves
from raclap.report.embedding_map import EmbeddingMap, embedding_map
from raclap.report.finished_run import ReportError, read_run
from raclap.report.measured_corpus import MeasuredCorpus, Reading, find_corpora, measure_corpora
from raclap.report.mistakes import Mistake, worst_queries
from raclap.report.page import Report, render_page
from raclap.report.reliability import Reliability, reliability
from raclap.report.sounds import MOST_BYTES, SoundShelf
from raclap.report.step_log import read_step_log
from raclap.report.style_similarity import StyleSimilarity, style_similarity
from raclap.report.training_data import training_data
from raclap.retrieval.calibration import CalibrationError, CalibrationPairs, labelled_cosines
from raclap.retrieval.labels import find_labels
from raclap.retrieval.protocol import Protocol, load_protocol
from raclap.retrieval.relevance import DIRECTIONS


def write_report(
    folder: Path,
    output: Path,
    reading: Reading,
    last: bool = False,
    protocols: Sequence[Path] = (),
    worst: int = 4,
    with_sound: bool = True,
    command: str = "",
) -> None:
    """Measures the model of a run and writes one page of all there is to see; nothing in the run is changed.

    Args:
        folder: of the run.
        output: the page to make, whole or not at all.
        reading: which rows are measured, and how figures are drawn.
        last: the model of the last epoch, not of the best.
        protocols: of zero-shot classification; none: that of the run, and the attributes of the corpora.
        worst: queries to show of each corpus and direction.
        with_sound: put clips into the page.
        command: that asked for it, to stand on the page.

    Raises:
        RaClapError: the run, its model, a corpus or a protocol is not as it should be; before anything is measured,
            except for bad recordings.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise ReportError(f"{output}: expected a name that ends in .html")
    run = read_run(folder, last)
    found = [load_protocol(path) for path in protocols] or _own_protocol(run.recipe)
    corpora, without = find_corpora(run, reading)
    if protocols:
        _check_protocols(found, corpora, reading.split)
    data = training_data(run)
    model, processor = load_model_folder(run.export)
    model = model.to(join_processes().device)

    measured = list(measure_corpora(run, model, processor, corpora, found, bool(protocols), reading))
    mistakes = {
        corpus.name: [one for side in DIRECTIONS for one in worst_queries(corpus, side, worst)] for corpus in measured
    }
    drawn = embedding_map(measured, seed=reading.seed)
    steps = read_step_log(run.path / "logs")
    page = render_page(
        Report(
            run=run,
            reading=reading,
            corpora=measured,
            without=without,
            data=data,
            licence=licence_of_weights(data.licences).statements,
            facts=_facts(run.recipe, model),
            training=training_curves(run, steps),
            validation=validation_curves(run),
            logged=bool(steps),
            layers=layer_weights(run, model),
            similarities={corpus.name: _similarity(corpus, reading.seed) for corpus in measured},
            map=drawn,
            calibration=model.calibration,
            reliability=_reliability(model.calibration, measured, reading.seed),
            mistakes=mistakes,
            shelf=_shelve(measured, mistakes, drawn, MOST_BYTES if with_sound else 0, reading.seed),
            command=command,
            versions=versions(),
        )
    )
    write_text(output, page)
    print(f"{output}: {len(page.encode()) / 1e6:.1f} MB")


def _own_protocol(recipe: Recipe) -> list[Protocol]:
    """The protocol that the run was validated by, where its file is still there."""
    path = recipe.evaluation.zero_shot
    return [load_protocol(path)] if path is not None and Path(path).is_file() else []


def _check_protocols(protocols: Sequence[Protocol], corpora: Sequence[CorpusRecipe], split: str) -> None:
    """Refuses a protocol that no corpus has the labels of.

    Raises:
        ManifestError: what is wrong with the last corpus.
    """
    manifests = [select_rows(corpus.manifest, split, corpus.audio_root, alone=True) for corpus in corpora]
    for protocol in protocols:
        wrong: ManifestError | None = None
        for rows in manifests:
            try:
                find_labels(rows, protocol)
                break
            except ManifestError as error:
                wrong = error
        else:
            raise wrong


def _facts(recipe: Recipe, model: RaClapModel) -> dict[str, str]:
    """What was trained, a line each."""
    config = model.config
    facts = {
        "speech tower": recipe.model.speech.pretrained or f"{config.audio_config.model_type}, from scratch",
        "text tower": recipe.model.text.pretrained or f"{config.text_config.model_type}, from scratch",
        "relation": recipe.objective.relation,
        "joint space": f"{config.projection_dim} dimensions, {config.projection}",
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} million",
    }
    return {**facts, "started from": recipe.start} if recipe.start is not None else facts


def _similarity(corpus: MeasuredCorpus, seed: int) -> StyleSimilarity | None:
    return style_similarity(corpus.embeds, corpus.rows.manifest.column("style_key"), seed=seed)


def _reliability(calibration: Calibration | None, measured: Sequence[MeasuredCorpus], seed: int) -> Reliability | None:
    """None where there is nothing to look at, or too little."""
    if calibration is None:
        return None
    pairs = {own.name: CalibrationPairs.of_manifest(own.embeds, own.rows.manifest, own.relevance) for own in measured}
    try:
        return reliability(calibration, labelled_cosines(pairs, seed))
    except CalibrationError:
        return None


def _shelve(
    measured: Sequence[MeasuredCorpus],
    mistakes: dict[str, list[Mistake]],
    drawn: EmbeddingMap | None,
    most: int,
    seed: int,
) -> SoundShelf:
    """Clips of the worst queries first, then those of the map in random order, as long as there is room."""
    shelf, rows = SoundShelf(most), {corpus.name: corpus.rows for corpus in measured}
    wanted = [
        (name, match.clip if mistake.direction == "text_to_audio" else match.caption)
        for name, own in mistakes.items()
        for mistake in own
        for match in (mistake.right, *mistake.found)
    ]
    shown = [] if drawn is None else [(pair.corpus, pair.row) for pair in drawn.pairs]
    wanted += [shown[place] for place in np.random.default_rng(seed).permutation(len(shown))]
    for name, row in tqdm(wanted, desc="taking clips into the page", unit="clip", disable=not most):
        shelf.add(name, rows[name], row)
    return shelf
