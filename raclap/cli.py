"""The `raclap` command: what the three scripts do not do."""

import argparse
from pathlib import Path

from raclap.console import exits_cleanly

_EMBEDDED = "embedded"


@exits_cleanly
def main() -> None:
    """Parses the command line and runs the command it names."""
    parser = argparse.ArgumentParser(prog="raclap", description="Find, tag and judge speech by how it sounds.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_prepare(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "prepare",
        help="turn a corpus on disk into a manifest",
        description=(
            "Reads a corpus as it was released, composes captions where it has none, splits by speaker and writes "
            "the manifest (Parquet). The embedded corpora (prompt_like, textrol_like, craft_like) are spoken by "
            "espeak-ng; they need no ROOT, but the extra raclap[demo]."
        ),
    )
    parser.add_argument("corpus", help="ravdess, emodb, or embedded for the three that the package speaks itself")
    parser.add_argument("root", nargs="?", type=Path, help="folder of the corpus, as it was released")
    parser.add_argument("--output", type=Path, help="manifest to write (default: CACHE/CORPUS/manifest.parquet)")
    parser.add_argument(
        "--cache", type=Path, help="folder of manifests and embedded corpora (default: $RACLAP_CACHE, or "
        "~/.cache/raclap/corpora)",
    )  # fmt: skip
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and list them")
    parser.add_argument("--scale", type=float, default=1.0, help="embedded: factor on the number of clips")
    parser.add_argument("--seed", type=int, default=0, help="embedded: decides who says what, and how")
    parser.set_defaults(run=_prepare)


def _prepare(arguments: argparse.Namespace) -> None:
    from raclap.corpora.preparation import prepare, show, summarise
    from raclap.corpora.synthetic import build, default_cache
    from raclap.data.manifest import read_manifest
    from raclap.errors import RecipeError

    cache = arguments.cache or default_cache()
    if arguments.corpus == _EMBEDDED:
        for manifest in build(cache, scale=arguments.scale, seed=arguments.seed).values():
            show(summarise(read_manifest(manifest)))
        return
    if arguments.root is None:
        raise RecipeError(f"prepare {arguments.corpus}: name the folder that holds the corpus")
    output = arguments.output or cache / arguments.corpus / "manifest.parquet"
    prepare(arguments.corpus, arguments.root, output, skip_bad=arguments.skip_bad)
