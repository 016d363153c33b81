"""What `raclap export` does: from a run folder to a folder for the Hub, with examples and every figure that is known.

Runs from before `corpora.json` and `validation.json` were written are completed from the manifests of their recipe,
where these are still what the run was made with; what cannot be known is left out, and that is said.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.corpora.candidate_table import find_recordings_below
from raclap.data.builds import corpus_builds
from raclap.data.collection import read_corpora, select_rows, stream_corpora
from raclap.data.facts import CorpusFacts
from raclap.data.manifest import Manifest
from raclap.errors import ModelFolderError, RaClapError
from raclap.hub.card import TEMPLATE, CardFacts, render_card
from raclap.hub.examples import Example, clips_of_corpora, clips_of_files, make_examples, write_examples
from raclap.hub.export import SHARD_SIZE, export
from raclap.hub.figures import Figures, gather_figures, zero_shot_figures
from raclap.hub.licences import licence_of_weights
from raclap.hub.lineage import TrainingData, read_training_data
from raclap.model_folder import load_model_folder
from raclap.recipe import Recipe, read_recipe
from raclap.retrieval.validation import Validation
from raclap.training.run_folder import RunFolder, RunFolderError


@dataclass(frozen=True)
class ExportOptions:
    """What an export can be told.

    Attributes:
        last: export the last epoch, not the best.
        repo_id: USER/NAME on the Hub, for the card.
        shard_size: weights above it are split.
        results: files of evaluate_retrieval.py (`NAME.intervals.json`) that must be of this model.
        examples: folder of recordings for the card; None takes validation clips that may be handed on.
        examples_count: at most so many clips.
        template: of the card.
        onnx: write both towers for ONNX Runtime too.
    """

    last: bool = False
    repo_id: str | None = None
    shard_size: str = SHARD_SIZE
    results: tuple[Path, ...] = ()
    examples: Path | None = None
    examples_count: int = 3
    template: Path = TEMPLATE
    onnx: bool = False


def export_run(path: Path, target: Path, options: ExportOptions = ExportOptions()) -> None:
    """Writes a run's model to a folder that is complete on the Hub; whole, or not at all.

    Args:
        path: the run folder.
        target: the folder to make; an older model folder is replaced, anything else is left alone.
        options: see `ExportOptions`.

    Raises:
        RaClapError: the run has nothing to export, the target is something else, results are of another model, there
            is no audio among the examples, or the template asks for what is not known.
    """
    run, recipe = _open(path)
    source = run.last if options.last else run.best
    entry = _epoch(run, source, options.last)
    _check_target(target, run)
    _check_repo_id(options.repo_id)
    model, processor = load_model_folder(source)

    # What a person named may be wrong: it is looked at before anything that takes long.
    values = Figures.without_intervals("validation", entry["validation"])
    others = gather_figures(source, options.results, sorted(path.glob("*.intervals.json")), [values])
    examples = _examples(recipe, model, processor, options)
    training_data = read_training_data(source) or _training_data(run, recipe, processor)
    figures = (_with_intervals(values, run, recipe, entry["epoch"] + 1, model, processor), *others)
    card = render_card(
        CardFacts(
            recipe=recipe,
            model=model,
            training_data=training_data,
            epoch=entry["epoch"] + 1,
            is_best=entry["best"],
            figures=figures,
            zero_shot=zero_shot_figures(entry["validation"]),
            examples=examples,
            repo_id=options.repo_id,
            has_onnx=options.onnx,
        ),
        options.template,
    )

    def add(folder: Path) -> None:
        write_examples(examples, folder)
        if options.onnx:
            from raclap.hub.onnx_export import export_onnx

            export_onnx(model, processor, folder / "onnx", recipe.name)

    try:
        export(model, processor, target, card, training_data, options.shard_size, add)
    except OSError as error:
        raise ModelFolderError(f"{target}: cannot be written ({error.strerror or error})") from error
    _report(target, entry, figures, examples, training_data)


def _open(path: Path) -> tuple[RunFolder, Recipe]:
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such run folder")
    if not (path / "recipe.yaml").is_file():
        inside = (path.parent / "recipe.yaml").is_file()
        hint = f"name the run, {path.parent}" if inside else "is it a folder that train.py or distill.py wrote?"
        raise RunFolderError(f"{path}: holds no recipe.yaml; {hint}")
    return RunFolder(path), read_recipe(path / "recipe.yaml")


def _epoch(run: RunFolder, source: Path, last: bool) -> dict[str, Any]:
    """What the run wrote of the epoch that is exported."""
    epochs = run.epochs()
    if not source.is_dir() or not epochs:
        raise RunFolderError(f"{run.path}: nothing to export yet: no epoch is complete (there is no {source.name}/)")
    return epochs[-1] if last else [entry for entry in epochs if entry["best"]][-1]


def _check_target(target: Path, run: RunFolder) -> None:
    resolved = target.resolve()
    for own in (run.best, run.last, run.checkpoints):
        if resolved.is_relative_to(own.resolve()):
            raise ModelFolderError(f"{target}: lies in what the run itself writes ({own}); choose another folder")
    if target.is_file():
        raise ModelFolderError(f"{target}: is a file; give a folder to make")
    if target.is_dir() and any(target.iterdir()) and not _is_ours(target):
        raise ModelFolderError(
            f"{target}: is there already and is no model folder of this package, so it is not overwritten; choose "
            f"another folder"
        )


def _is_ours(folder: Path) -> bool:
    """Whether a folder is an older export; one under version control is not, for its history would be lost."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "raclap" and not (folder / ".git").exists()


def _check_repo_id(repo_id: str | None) -> None:
    if repo_id is None:
        return
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ModelFolderError(f"--repo-id {repo_id}: not a name on the Hub, USER/NAME ({error})") from error
    if "/" not in repo_id:
        raise ModelFolderError(f"--repo-id {repo_id}: not a name on the Hub, USER/NAME (whose is it?)")


def _training_data(run: RunFolder, recipe: Recipe, processor: RaClapProcessor) -> TrainingData:
    """Of a run whose export does not say: from its record, else from the manifests, else by name alone."""
    facts = run.corpora()
    if facts is None:
        print(f"{run.path}: no corpora.json: looking at the manifests of the recipe")
        header_alone = {"audio_check": "header", "skip_bad": True, "keep_in_memory": False, "cache": None}
        data = recipe.data.model_copy(update=header_alone)
        try:
            read = stream_corpora if data.streams else read_corpora
            corpora = read(data, "train", processor.feature_extractor)
            facts = {name: CorpusFacts.of_corpus(corpus) for name, corpus in corpora.items()}
        except RaClapError as error:
            print(f"not known: size, languages and licences of the training data ({error})")
            facts = {corpus.name: CorpusFacts.unknown() for corpus in recipe.data.corpora}
    return TrainingData.of_run(recipe, facts)


def _with_intervals(
    values: Figures, run: RunFolder, recipe: Recipe, epoch: int, model: RaClapModel, processor: RaClapProcessor
) -> Figures:
    """The figures of an epoch: with the intervals that the run kept, or with intervals found now, or without."""
    kept = run.validation()
    if kept is not None and kept["epoch"] == epoch:
        return values.with_intervals(kept["results"], kept["resamples"])
    print(f"{run.path}: no intervals of epoch {epoch}: finding them on the validation clips")
    try:
        changed = run.changed_data(corpus_builds(recipe.data))
        if changed:
            raise RunFolderError(f"the data has changed since: {'; '.join(changed)}")
        corpora = read_corpora(recipe.data, "validation", processor.feature_extractor)
        validation = Validation(recipe.evaluation, corpora, processor)
        validation.run(model)
    except RaClapError as error:
        print(f"not known: intervals of the validation figures ({error})")
        return values
    found = validation.intervals()
    return values.with_intervals(found["results"], found["resamples"])


def _examples(
    recipe: Recipe, model: RaClapModel, processor: RaClapProcessor, options: ExportOptions
) -> tuple[Example, ...]:
    rate, count = processor.feature_extractor.sampling_rate, options.examples_count
    if count == 0:
        return ()
    try:
        clips, labels = clips_of_corpora(_validation_rows(recipe), rate, count)
    except RaClapError as error:
        clips, labels, reason = [], [], str(error)
    else:
        reason = "no validation clip has a licence that is known to let it be handed on"
    if options.examples is not None:
        clips = clips_of_files(find_recordings_below(options.examples), rate, count)
    if not clips:
        print(f"no examples: {reason}; --examples FOLDER takes recordings of yours")
    return make_examples(model, processor, clips, labels)


def _validation_rows(recipe: Recipe) -> list[Manifest]:
    return [
        select_rows(corpus.manifest, "validation", corpus.audio_root, alone=corpus.streaming)
        for corpus in recipe.data.corpora
    ]


def _report(
    target: Path,
    entry: dict[str, Any],
    figures: Sequence[Figures],
    examples: Sequence[Example],
    training_data: TrainingData,
) -> None:
    files = [path for path in target.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    licence = licence_of_weights(training_data.licences)
    results = ", ".join(f"{own.split} ({', '.join(own.results)})" for own in figures)
    print(f"{target}: {len(files)} files, {megabytes:.1f} MB, epoch {entry['epoch'] + 1}")
    print(f"  results: {results}; examples: {len(examples)}; licence: {licence.name or licence.hub_id}")
    for statement in licence.statements:
        print(f"  {statement}")
    print(f"  to publish: raclap push {target} USER/NAME")
