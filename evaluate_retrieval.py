"""Caption-to-clip and clip-to-caption retrieval of one or several models on one or several manifests.

    python evaluate_retrieval.py --model runs/demo/export --manifest CORPUS/manifest.parquet
    python evaluate_retrieval.py --model ess=runs/ess/export --model ra=runs/ra/export \\
        --manifest a.parquet --manifest b.parquet --output results.json --figure results.png

Both protocols (instance and style) and both directions are reported with 95 % bootstrap intervals over speakers.
Of several models each is compared with the first by paired bootstrap. Where rows have valence or arousal, Kendall's τ
and the gap between the modalities are reported too; with --index, what storing and searching costs. Several processes
share the embedding: accelerate launch evaluate_retrieval.py ...
"""

import argparse
from pathlib import Path

from raclap.console import exits_cleanly, named, named_model, positive


def read_command_line() -> argparse.Namespace:
    """What to evaluate, on what, and where the results go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="[NAME=]FOLDER",
                        help="exported model; may be repeated")  # fmt: skip
    parser.add_argument("--manifest", action="append", required=True, metavar="[NAME=]FILE",
                        help="corpus; may be repeated")  # fmt: skip
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="rows to use")
    parser.add_argument("--output", type=Path, help="JSON: {model: {corpus: {direction: {metric: value}}}}; "
                        "intervals and comparisons go beside it, to NAME.intervals.json")  # fmt: skip
    parser.add_argument("--figure", type=Path, help="PNG of the results")
    parser.add_argument("--table", type=Path, help="text file for the printed table, with machine and date")
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifests say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and count them")
    parser.add_argument("--index", type=Path, help="folder of indexes, MODEL/CORPUS: evaluate through them too")
    parser.add_argument("--approximate", action="store_true", help="with --index: through its approximate search too")
    parser.add_argument("--resamples", type=positive, default=2000, help="bootstrap resamples")
    parser.add_argument("--order-rows", type=int, default=2000, metavar="N",
                        help="measure the order of valence and arousal on at most N rows; 0: not at all")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap, and of the rows for the order")
    arguments = parser.parse_args()
    if arguments.approximate and not arguments.index:
        parser.error("--approximate is for --index")
    return arguments


@exits_cleanly
def main() -> None:
    """Models × corpora → embeddings → ranks → table, JSON and figure."""
    arguments = read_command_line()

    from raclap.memory import keep_freed_memory

    keep_freed_memory()  # before torch is imported

    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    from raclap.data.collection import read_split
    from raclap.files import write_json, write_text
    from raclap.model_folder import load_model_folder
    from raclap.processes import join_processes
    from raclap.provenance import versions, weights_digests
    from raclap.retrieval import reporting
    from raclap.retrieval.evaluation import evaluate
    from raclap.retrieval.ordinality import OrderError

    disable_progress_bar()
    state = join_processes()
    evaluations, weights = [], {}
    for given in arguments.model:
        name, folder = named_model(given)
        model, processor = load_model_folder(folder)
        weights[name] = weights_digests(folder)
        for manifest in arguments.manifest:
            corpus = read_split(
                named(manifest)[1],
                arguments.split,
                processor.feature_extractor,
                arguments.audio_root,
                skip_bad=arguments.skip_bad,
            )
            if corpus.skipped and state.is_main_process:
                print(f"left out {len(corpus.skipped)} bad recordings, first: {corpus.skipped[0].reason}")
            corpus_name = named(manifest, default=corpus.manifest[0].corpus)[0]
            of_pairs = (model.to(state.device), processor, corpus, name, corpus_name)
            settings = {key: getattr(arguments, key) for key in ("resamples", "seed", "order_rows")}
            try:
                if arguments.index:
                    from raclap.archive.evaluation import IndexOptions, evaluate_through_index

                    options = IndexOptions(arguments.index, folder, weights[name], arguments.approximate)
                    evaluations += evaluate_through_index(*of_pairs, options, **settings)
                else:
                    evaluations.append(evaluate(*of_pairs, **settings))
            except OrderError as error:
                raise OrderError(f"{error}; with --order-rows 0 none is measured") from error

    if not state.is_main_process:
        return
    # Wide enough for every column also where the output is no terminal.
    table = reporting.results_table(evaluations)
    console = Console(width=max(Console().width, 124, Console(width=999).measure(table).maximum), record=True)
    console.print(table)
    if (ordered := reporting.order_table(evaluations)) is not None:
        console.print(ordered)
    if arguments.table:
        facts = versions()
        console.print(f"{facts['date']}, {facts['machine']}, torch {facts['torch']}", highlight=False)
        write_text(arguments.table, console.export_text())
    if arguments.output:
        write_json(arguments.output, reporting.results_json(evaluations))
        identity = reporting.identity_json(evaluations, arguments.split, weights)
        write_json(arguments.output.with_suffix(".intervals.json"), identity | reporting.intervals_json(evaluations))
    if arguments.figure:
        reporting.save_figure(evaluations, arguments.figure)


if __name__ == "__main__":
    main()
