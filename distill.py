"""RA-CLAP: a student learns from a teacher's cosines that captions and clips match partly.

    python distill.py --recipe configuration/demo/ra_clap.yaml
    python distill.py --recipe RECIPE.yaml --teacher runs/a/export --teacher runs/b/export --set teacher.sees=clips
    accelerate launch distill.py --recipe configuration/table2/ra_clap.yaml --student runs/small/export

Teachers are exported folders, frozen; the cosines of several are averaged. The student starts as a copy of the first,
or from another folder. With teacher.ema_decay the teacher is the moving average of the student itself. Run folder,
resuming and export are those of train.py.
"""

from raclap.console import exits_cleanly
from raclap.errors import RecipeError
from raclap.run_options import read_run, run_parser


@exits_cleanly
def main() -> None:
    """A recipe whose targets come from a teacher → a run."""
    parser = run_parser(__doc__)
    parser.add_argument(
        "--teacher", action="append", default=[], metavar="FOLDER", help="exported teacher; may be repeated"
    )
    parser.add_argument("--student", metavar="FOLDER", help="exported folder that the student starts from")
    arguments = parser.parse_args()
    settings = [f"teacher.folders=[{', '.join(map(repr, arguments.teacher))}]"] if arguments.teacher else []
    settings += [f"model.init_from={arguments.student}"] if arguments.student else []
    recipe, output = read_run(arguments, settings)
    if recipe.teacher is None:
        raise RecipeError(f"{arguments.recipe}: this recipe has no teacher; run it with train.py")

    # Heavy libraries are loaded after the command line is known to be good, and after memory is set up.
    from raclap.memory import keep_freed_memory

    keep_freed_memory()
    from raclap.experiment import run_experiment

    run_experiment(recipe, output, arguments.fresh)


if __name__ == "__main__":
    main()
