"""One run from recipe to exported model: what train.py and distill.py share.

They differ in the recipe alone: in the relation that is learned, and in where the model starts.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.builds import corpus_builds
from raclap.data.collection import read_corpora, stream_corpora
from raclap.data.facts import CorpusFacts
from raclap.data.inspection import Inspection
from raclap.data.notes import AttributeCodes, CaptionCodes, MergedNotes, PairNotes, StyleCodes
from raclap.data.stream_loader import StreamLoader
from raclap.distillation import Teaching, prepare_teaching
from raclap.hub.card import CardFacts, render_card
from raclap.hub.export import export
from raclap.hub.figures import Figures, zero_shot_figures
from raclap.hub.lineage import TrainingData
from raclap.processes import join_processes
from raclap.recipe import Recipe
from raclap.retrieval.calibration import CalibrationError
from raclap.retrieval.validation import Validation
from raclap.training.checkpoint import Checkpoints, Progress
from raclap.training.loop import EpochReport, train_epochs
from raclap.training.objectives import CombinedObjective, ContrastiveObjective, Objective
from raclap.training.run_folder import RunFolder
from raclap.training.setup import Session, prepare_training
from raclap.training.terms import Terms, prepare_terms
from raclap.training.towers import build_model

_NOTES: dict[str, Callable[[list[Inspection]], PairNotes]] = {
    "caption": lambda _: CaptionCodes(),
    "style": StyleCodes,
    "attributes": AttributeCodes,
}


def run_experiment(recipe: Recipe, output: Path, fresh: bool = False) -> None:
    """Trains what a recipe describes: epochs, each validated, exported and saved; goes on where it was stopped.

    Args:
        recipe: what is run.
        output: the run folder.
        fresh: put an older run of this name aside and begin anew.

    Raises:
        RaClapError: recipe, data, model folder or teacher is not as it should be; before the first step.
    """
    disable_progress_bar()  # of the library's loading and saving; ours show what takes long

    # 1. The run folder: a new one, or the one to go on in. One process makes it, the others find it.
    run = RunFolder(output)
    state = join_processes()
    with state.main_process_first():
        run.open(recipe, corpus_builds(recipe.data), fresh and state.is_main_process)

    # 2. Model and data. Every recording is looked at before the first step.
    set_seed(recipe.seed)
    model, processor = build_model(recipe.model.model_copy(update={"init_from": recipe.start}))
    read_training_rows = stream_corpora if recipe.data.streams else read_corpora
    corpora = read_training_rows(recipe.data, "train", processor.feature_extractor)
    validation_set = read_corpora(recipe.data, "validation", processor.feature_extractor)
    training_data = None
    if state.is_main_process:
        run.record_skipped({"train": corpora, "validation": validation_set})
        facts = {name: CorpusFacts.of_corpus(corpus) for name, corpus in corpora.items()}
        training_data = TrainingData.of_run(recipe, facts)
        run.record_corpora(facts)
    validation = Validation(recipe.evaluation, validation_set, processor)

    # 3. What is learned: the relation, from labels or from a teacher; order and tags beside it.
    terms = prepare_terms(recipe, model, processor, list(corpora.values()))
    teaching = None
    if recipe.teacher is not None:
        teaching = prepare_teaching(recipe, model, processor, corpora, output)
    notes = _notes(recipe, teaching, terms, corpora)
    objective = _objective(recipe, teaching, terms)

    # 4. Accelerate: devices, precision, processes; and the state to go on from.
    session = prepare_training(recipe, model, processor, corpora, output, notes)
    moving = None if teaching is None else teaching.moving
    stream = session.loader if isinstance(session.loader, StreamLoader) else None
    checkpoints = Checkpoints(
        run.checkpoints,
        {} if moving is None else {"teacher": moving},
        {} if stream is None else {"stream": stream},
    )
    start = checkpoints.resume(session.accelerator, session.scheduler)
    keeper = _Keeper(recipe, session, run, checkpoints, training_data, start.best)

    def after_step(progress: Progress) -> None:
        if moving is not None:
            moving.follow(model)
        keeper.save_within_epoch(progress)

    # 5. Epochs.
    for report in train_epochs(
        session.accelerator, session.model, session.optimizer, session.scheduler, session.loader,
        objective, session.settings, start, after_step,
    ):  # fmt: skip
        results = validation.run(model)
        keeper.keep(report, results, validation, model, processor)
    session.accelerator.end_training()


def _notes(
    recipe: Recipe, teaching: Teaching | None, terms: Terms, corpora: dict[str, Inspection]
) -> PairNotes | None:
    """What must be known of each pair; None where the pairing is all."""
    makers = list(terms.notes)
    if teaching is not None and teaching.notes is not None:
        makers.append(teaching.notes)
    if recipe.objective.relation in _NOTES:
        makers.append(_NOTES[recipe.objective.relation](list(corpora.values())))
    return MergedNotes(makers) if makers else None


def _objective(recipe: Recipe, teaching: Teaching | None, terms: Terms) -> Objective:
    relate = None if teaching is None else teaching.relate
    contrastive = ContrastiveObjective.from_recipe(recipe.objective, recipe.training, relate)
    alone = not terms.terms and recipe.objective.contrastive_weight == 1
    return contrastive if alone else CombinedObjective(contrastive, terms.terms)


class _Keeper:
    """Keeps what a run makes: checkpoints, figures, the last model and the best."""

    def __init__(
        self,
        recipe: Recipe,
        session: Session,
        run: RunFolder,
        checkpoints: Checkpoints,
        training_data: TrainingData | None,
        best: float | None,
    ):
        self._recipe = recipe
        self._session = session
        self._run = run
        self._checkpoints = checkpoints
        self._training_data = training_data  # None on all processes but the main one
        self._best = best
        self._reasons: set[str] = set()

    def save_within_epoch(self, progress: Progress) -> None:
        every = self._recipe.training.checkpoint_steps
        if every and progress.step % every == 0:
            self._save(replace(progress, best=self._best))

    def keep(
        self,
        report: EpochReport,
        results: dict[str, Any],
        validation: Validation,
        model: RaClapModel,
        processor: RaClapProcessor,
    ) -> None:
        select, score = self._recipe.evaluation.select, validation.score(results)
        self._session.accelerator.log({f"validation/{select}": score}, step=report.epoch + 1)
        is_best = self._best is None or score > self._best
        self._best = score if is_best else self._best
        if self._session.accelerator.is_main_process:
            self._run.record({**asdict(report), "score": score, "best": is_best, "validation": results})
            self._calibrate(model, validation)
            self._export(report.epoch + 1, is_best, results, validation.intervals(), model, processor)
            figures = {} if report.loss is None else {"loss": report.loss, **report.figures}
            line = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
            print(f"epoch {report.epoch + 1}: {line + ', ' if line else ''}{select} {score:#.4g}")
        self._save(Progress(report.epoch + 1, 0, self._best))

    def _export(
        self,
        epoch: int,
        is_best: bool,
        results: dict[str, Any],
        intervals: dict[str, Any],
        model: RaClapModel,
        processor: RaClapProcessor,
    ) -> None:
        """Writes the last model, and the best if it is that, with the figures of this epoch."""
        card = render_card(
            CardFacts(
                recipe=self._recipe,
                model=model,
                training_data=self._training_data,
                epoch=epoch,
                is_best=is_best,
                figures=(Figures("validation", intervals["results"], intervals["resamples"]),),
                zero_shot=zero_shot_figures(results),
            )
        )
        for folder in (self._run.last, *([self._run.best] if is_best else [])):
            export(model, processor, folder, card, self._training_data)
        if is_best:
            self._run.record_validation(epoch, intervals)

    def _calibrate(self, model: RaClapModel, validation: Validation) -> None:
        """Puts into the configuration what cosines mean now; where that cannot be told, why is said once."""
        try:
            model.config.calibration = validation.calibrate().to_dict()
        except CalibrationError as error:
            model.config.calibration = None
            if str(error) not in self._reasons:
                self._reasons.add(str(error))
                print(f"exported without a calibration: {error}")

    def _save(self, progress: Progress) -> None:
        self._checkpoints.save(self._session.accelerator, self._session.scheduler, progress)
