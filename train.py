"""ESS-CLAP: contrastive training of a speech tower and a text tower on captioned speech.

    python train.py --recipe configuration/demo/ess_clap.yaml
    python train.py --recipe configuration/demo/table2/joint_to_ps.yaml --init-from runs/demo/export
    accelerate launch train.py --recipe configuration/table2/balanced.yaml --set training.batch_size=384

Started again, a run goes on from its last complete checkpoint. The run folder holds the resolved recipe, versions,
metrics.json, TensorBoard logs, checkpoints/, export/ (the best epoch) and export_last/, both for AutoModel.
"""

from raclap.console import exits_cleanly
from raclap.errors import RecipeError
from raclap.run_options import read_run, run_parser


@exits_cleanly
def main() -> None:
    """A recipe whose targets come from the data → a run."""
    parser = run_parser(__doc__)
    parser.add_argument("--init-from", metavar="FOLDER", help="exported folder to go on from (model.init_from)")
    arguments = parser.parse_args()
    settings = [f"model.init_from={arguments.init_from}"] if arguments.init_from else []
    recipe, output = read_run(arguments, settings)
    if recipe.teacher is not None:
        raise RecipeError(f"{arguments.recipe}: this recipe has a teacher; run it with distill.py")

    # Heavy libraries are loaded after the command line is known to be good, and after memory is set up.
    from raclap.memory import keep_freed_memory

    keep_freed_memory()
    from raclap.experiment import run_experiment

    run_experiment(recipe, output, arguments.fresh)


if __name__ == "__main__":
    main()
