"""`raclap search`: find moments of an archive by how they sound."""

import argparse
from functools import partial
from pathlib import Path

from raclap.console import positive

_FORMATS = ("table", "json", "csv", "html")


def add_search(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "search",
        help="find moments of an archive by how they sound",
        description=(
            "Searches an index that `raclap index` wrote, in words, with a clip (--like), or with both, and shows the "
            "moments that were found: which recording, from when to when, and how well they fit. Several queries are "
            "searched for at once."
        ),
    )
    parser.add_argument("index", metavar="INDEX", help="folder that `raclap index` wrote, or its address")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="how the wanted speech sounds; each is a query")
    parser.add_argument("--queries", type=Path, metavar="FILE", help="queries, one a line (.txt), or a table (.csv, "
                        ".tsv, .json, .jsonl, .parquet) with text or like, and id, more, less")  # fmt: skip
    parser.add_argument("--like", type=Path, metavar="CLIP", help="a clip that sounds as wanted")
    parser.add_argument("--more", action="append", metavar="TEXT", help="more of this; may be repeated")
    parser.add_argument("--less", action="append", metavar="TEXT", help="less of this; may be repeated")
    parser.add_argument("--weight", type=float, default=1.0, metavar="W", help="of --more and --less: the query is "
                        "unit(unit(text + like) + W · (more − less)) (default: 1)")  # fmt: skip
    parser.add_argument("--where", metavar="CONDITION", help="search only windows of which this holds, as in "
                        "\"sex = 'female' and duration > 3\"")  # fmt: skip
    parser.add_argument("--min-probability", type=float, metavar="P", help="leave out what fits the words with less "
                        "than this probability, at even odds")  # fmt: skip
    parser.add_argument("-k", type=positive, default=10, metavar="K", help="moments of each query (default: 10)")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="where the model lies that made the index, if "
                        "not where it lay then")  # fmt: skip
    parser.add_argument("--format", choices=_FORMATS, help="default: what --output ends in, else a table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    parser.add_argument("--export-clips", type=Path, metavar="DIR", help="write every moment as FLAC into this folder")
    parser.add_argument("--no-merge", action="store_true", help="show single windows; do not make moments of them")
    parser.add_argument("--duplicates", type=float, metavar="COSINE", help="fold moments whose best windows are at "
                        "least so similar, such as 0.98 (default: only copies of one file)")  # fmt: skip
    parser.add_argument("--exact", action="store_true", help="compare with every window, however large the index")
    parser.set_defaults(run=partial(_search, parser))


def _search(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    of_words = {"TEXT": arguments.texts, "--like": arguments.like, "--more": arguments.more, "--less": arguments.less}
    strange = [name for name, value in of_words.items() if value]
    if arguments.queries and strange:
        parser.error(f"{strange[0]} is of no use with --queries")
    if not arguments.queries and not arguments.texts and not arguments.like:
        parser.error("nothing to search for: say how it sounds, or give --like or --queries")

    from transformers.utils.logging import disable_progress_bar

    from raclap.archive.queries import queries_of, read_queries
    from raclap.archive.search_command import Output, search_index
    from raclap.archive.searching import SearchOptions

    disable_progress_bar()
    if arguments.queries:
        queries = read_queries(arguments.queries)
    else:
        queries = queries_of(arguments.texts, arguments.like, arguments.more or (), arguments.less or ())
    search_index(
        arguments.index,
        queries,
        SearchOptions(
            k=arguments.k,
            where=arguments.where,
            min_probability=arguments.min_probability,
            merge=not arguments.no_merge,
            duplicates=arguments.duplicates,
            exact=arguments.exact,
            weight=arguments.weight,
        ),
        Output.of(arguments.format, arguments.output, arguments.export_clips),
        arguments.model,
    )
