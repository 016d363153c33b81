"""ESS-CLAP: contrastive pre-training of a speech tower and a text tower on captioned speech.

    python train.py --recipe configuration/demo/ess_clap.yaml
    accelerate launch train.py --recipe configuration/table2/ess_clap.yaml --set training.batch_size=384

Started again, a run goes on from its last complete checkpoint. The run folder holds the resolved recipe, versions,
metrics.json, TensorBoard logs, checkpoints/, export/ (the best epoch) and export_last/, both for AutoModel.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from raclap.console import exits_cleanly
from raclap.recipe import Recipe, describe_keys, read_recipe


def read_command_line() -> tuple[Recipe, Path, bool]:
    """The recipe with its settings applied, the run folder, and whether to begin anew."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="recipe keys (override with --set):\n" + describe_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", required=True, help="YAML file under configuration/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--output", type=Path, help="run folder (default: runs/NAME of the recipe)")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and list them")
    parser.add_argument("--fresh", action="store_true", help="put an older run of this name aside, begin anew")
    arguments = parser.parse_args()
    settings = [*arguments.set, *(["data.skip_bad=true"] if arguments.skip_bad else [])]
    recipe = read_recipe(arguments.recipe, settings)
    return recipe, arguments.output or Path("runs") / recipe.name, arguments.fresh


@exits_cleanly
def main() -> None:
    """Recipe → towers → checked data → epochs, each validated, saved and exported."""
    recipe, output, fresh = read_command_line()

    # Heavy libraries are loaded after the command line is known to be good, and after memory is set up.
    from raclap.memory import keep_freed_memory

    keep_freed_memory()
    from transformers import set_seed
    from transformers.utils.logging import disable_progress_bar

    from raclap.data.collection import read_corpora
    from raclap.hub.card import render_card
    from raclap.hub.export import export
    from raclap.processes import join_processes
    from raclap.retrieval.validation import Validation
    from raclap.training.checkpoint import Checkpoints, Progress
    from raclap.training.loop import train_epochs
    from raclap.training.objectives import InfoNceObjective
    from raclap.training.run_folder import RunFolder
    from raclap.training.setup import prepare_training
    from raclap.training.towers import build_model

    disable_progress_bar()  # of the library's loading and saving; ours show what takes long

    # 1. The run folder: a new one, or the one to go on in. One process makes it, the others find it.
    run = RunFolder(output)
    state = join_processes()
    with state.main_process_first():
        run.open(recipe, fresh and state.is_main_process)

    # 2. Model and data. Every recording is looked at before the first step.
    set_seed(recipe.seed)
    model, processor = build_model(recipe.model)
    train_set = read_corpora(recipe.data, "train", processor.feature_extractor)
    validation_set = read_corpora(recipe.data, "validation", processor.feature_extractor)
    if state.is_main_process:
        run.record_skipped({"train": train_set, "validation": validation_set})
    validation = Validation(recipe.evaluation, validation_set, processor)

    # 3. Accelerate: devices, precision, processes.
    objective = InfoNceObjective(
        recipe.objective.symmetric, recipe.training.speech_micro_batches, recipe.training.text_micro_batches
    )
    session = prepare_training(recipe, model, processor, train_set, output)
    checkpoints = Checkpoints(run.checkpoints)
    start = checkpoints.resume(session.accelerator, session.scheduler)
    best = start.best

    def save_within_epoch(progress: Progress) -> None:
        every = recipe.training.checkpoint_steps
        if every and progress.step % every == 0:
            checkpoints.save(session.accelerator, session.scheduler, replace(progress, best=best))

    # 4. Epochs: train, validate, export, save.
    for report in train_epochs(
        session.accelerator, session.model, session.optimizer, session.scheduler, session.loader,
        objective, session.settings, start, save_within_epoch,
    ):  # fmt: skip
        results = validation.run(model)
        score = validation.score(results)
        session.accelerator.log({f"validation/{recipe.evaluation.select}": score}, step=(report.epoch + 1))
        is_best = best is None or score > best
        best = max(score, best) if best is not None else score
        if state.is_main_process:
            run.record({**asdict(report), "score": score, "best": is_best, "validation": results})
            card = render_card(recipe, model, train_set, report.epoch + 1, results)
            export(model, processor, run.last, card)
            if is_best:
                export(model, processor, run.best, card)
            loss = "" if report.loss is None else f"loss {report.loss:.4f}, "
            print(f"epoch {report.epoch + 1}: {loss}{recipe.evaluation.select} {score:.2f}")
        checkpoints.save(session.accelerator, session.scheduler, Progress(report.epoch + 1, 0, best))
    session.accelerator.end_training()


if __name__ == "__main__":
    main()
