"""`raclap prepare`: a corpus on disk becomes a manifest."""

import argparse
import gc
import inspect
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

_EMBEDDED = "embedded"


def add_prepare(commands: argparse._SubParsersAction) -> None:
    """Adds the command; its options are those of the readers of corpora, which are imported when it is called."""
    parser = commands.add_parser(
        "prepare",
        help="turn a corpus on disk into a manifest",
        description=(
            "Reads a corpus as it was released, composes captions where it has none, splits by speaker where it says "
            "nothing of splits, and writes the manifest (Parquet). The embedded corpora (prompt_like, textrol_like, "
            "craft_like) are spoken by espeak-ng; they need no ROOT, but the extra raclap[demo]. Views of craft_like "
            "come with them: its clips again with other captions, or fewer of them."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_later(_add_arguments)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from raclap.corpora.options import OPTIONS, takes_pairs, takes_several
    from raclap.corpora.preparation import READERS, options_of

    takers = {name: [corpus for corpus in READERS if name in options_of(corpus)] for name in OPTIONS}
    parser.epilog = "\n".join(
        ["corpora:", *(f"  {name:<22}{_first_line(reader)}" for name, reader in sorted(READERS.items()))]
    )
    parser.add_argument("corpus", help="one of those below, or embedded for the three that the package speaks itself")
    parser.add_argument("root", nargs="?", type=Path, help="folder or table of the corpus, or its name on the Hub")
    parser.add_argument("--output", type=Path, help="manifest to write (default: CACHE/NAME/manifest.parquet)")
    parser.add_argument(
        "--cache", type=Path, help="folder of manifests and embedded corpora (default: $RACLAP_CACHE, or "
        "~/.cache/raclap/corpora)",
    )  # fmt: skip
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows and recordings out, and list them")
    parser.add_argument(
        "--audio-check",
        choices=("header", "exists", "none"),
        default="header",
        help="open each recording (counts hours), only look whether it is there, or neither (default: header)",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="embedded: factor on the number of clips")
    parser.add_argument("--seed", type=int, default=0, help="embedded: decides who says what, and how")
    for name, corpora in takers.items():
        if not corpora:
            continue
        example = options_of(corpora[0])[name]
        several = takes_pairs(example) or takes_several(example)
        words: dict[str, Any] = {"nargs": "+", "action": "extend"} if several else {}
        metavar = OPTIONS[name].rpartition(", ")[2] if takes_pairs(example) else None
        parser.add_argument(
            f"--{name.replace('_', '-')}", help=f"{OPTIONS[name]} ({', '.join(corpora)})", metavar=metavar, **words
        )
    parser.set_defaults(run=partial(_prepare, [name for name, corpora in takers.items() if corpora]))


def _first_line(reader: Any) -> str:
    return (inspect.getmodule(reader).__doc__ or "").strip().partition("\n")[0]


def _prepare(option_names: list[str], arguments: argparse.Namespace) -> None:
    from raclap.corpora.listing import corpus_name
    from raclap.corpora.options import read_options
    from raclap.corpora.preparation import options_of, prepare, show, summarise
    from raclap.corpora.synthetic import build, default_cache
    from raclap.corpora.synthetic_views import build_views
    from raclap.data.manifest import SPLITS, read_manifest
    from raclap.errors import RecipeError

    cache = arguments.cache or default_cache()
    given = {name: getattr(arguments, name) for name in option_names}
    if arguments.corpus == _EMBEDDED:
        read_options(given, {})
        for manifest in build(cache, scale=arguments.scale, seed=arguments.seed).values():
            show(summarise(read_manifest(manifest)))
        for manifest in build_views(cache).values():
            splits = Counter(read_manifest(manifest).column("split"))
            counts = ", ".join(f"{splits[split]} {split}" for split in SPLITS)
            print(f"view of craft_like → {manifest}: {counts}")
        return
    parameters = options_of(arguments.corpus)
    if arguments.root is None:
        raise RecipeError(f"prepare {arguments.corpus}: name the folder that holds the corpus")
    options = read_options(given, parameters)
    # Readers of users' own data name the corpus; others are corpora of a name of their own.
    name = options.get("name") or corpus_name(arguments.root) if "name" in parameters else arguments.corpus
    gc.freeze()  # what was imported stays: no collection need look through it again
    prepare(
        arguments.corpus,
        arguments.root,
        arguments.output or cache / name / "manifest.parquet",
        skip_bad=arguments.skip_bad,
        audio_check=arguments.audio_check,
        **options,
    )
