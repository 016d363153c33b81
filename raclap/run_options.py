"""What train.py and distill.py have in common on the command line."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from raclap.recipe import Recipe, describe_keys, read_recipe


def run_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every run; `--help` explains every recipe key."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="recipe keys (override with --set):\n" + describe_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", required=True, help="YAML file under configuration/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--output", type=Path, help="run folder (default: runs/NAME of the recipe)")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and list them")
    parser.add_argument("--fresh", action="store_true", help="put an older run of this name aside, begin anew")
    return parser


def read_run(arguments: argparse.Namespace, settings: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """The recipe with all settings applied, and the run folder.

    Args:
        arguments: of a parser made by `run_parser`.
        settings: that other options of the command line stand for.

    Raises:
        RecipeError: the recipe or a setting is not as it should be.
    """
    skip_bad = ["data.skip_bad=true"] if arguments.skip_bad else []
    recipe = read_recipe(arguments.recipe, [*settings, *arguments.set, *skip_bad])
    return recipe, arguments.output or Path("runs") / recipe.name
