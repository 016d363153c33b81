"""The `raclap` command: what the three scripts do not do."""

import argparse
import gc
import inspect
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from raclap.console import exits_cleanly

_EMBEDDED = "embedded"
_CONVERSIONS = {  # what is converted: one line of help, and what FILE is
    "speechbrain-ecapa": (
        "SpeechBrain's ECAPA-TDNN, trained on VoxCeleb",
        "embedding_model.ckpt of speechbrain/spkrec-ecapa-voxceleb, or the same weights as .safetensors",
    ),
    "wespeaker-resnet34": (
        "WeSpeaker's ResNet-34 (or another of its ResNets of basic blocks)",
        "avg_model.pt of a WeSpeaker ResNet with one embedding layer, or the same weights as .safetensors",
    ),
}
_MODEL_CONVERSIONS = {  # likewise, of whole models
    "paraspeechclap": (
        "ParaSpeechCLAP (intrinsic, situational or combined)",
        "the .pth.tar file of ajd12342/paraspeechclap-combined, -intrinsic or -situational, or the same weights as "
        ".safetensors",
    ),
    "paraclap": ("ParaCLAP", "best.pth.tar of KeiKinn/paraclap, or the same weights as .safetensors"),
}


@exits_cleanly
def main() -> None:
    """Parses the command line and runs the command it names."""
    parser = argparse.ArgumentParser(prog="raclap", description="Find, tag and judge speech by how it sounds.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_prepare(commands)
    _add_convert(commands)
    _add_calibrate(commands)
    _add_rerank(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    from raclap.corpora.options import OPTIONS, takes_pairs, takes_several
    from raclap.corpora.preparation import READERS, options_of

    takers = {name: [corpus for corpus in READERS if name in options_of(corpus)] for name in OPTIONS}
    parser = commands.add_parser(
        "prepare",
        help="turn a corpus on disk into a manifest",
        description=(
            "Reads a corpus as it was released, composes captions where it has none, splits by speaker where it says "
            "nothing of splits, and writes the manifest (Parquet). The embedded corpora (prompt_like, textrol_like, "
            "craft_like) are spoken by espeak-ng; they need no ROOT, but the extra raclap[demo]. Views of craft_like "
            "come with them: its clips again with other captions, or fewer of them."
        ),
        epilog="\n".join(
            ["corpora:", *(f"  {name:<22}{_first_line(reader)}" for name, reader in sorted(READERS.items()))]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
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


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="turn published weights into a speech tower or a model",
        description=(
            "Writes a folder of published weights, with the features that they were trained on: of a speaker encoder "
            "what a recipe takes as model.speech.pretrained, of a speech-text model a whole model folder. The file is "
            "yours to fetch; nothing in it is executed."
        ),
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for kind, (summary, file_help) in _CONVERSIONS.items():
        conversion = kinds.add_parser(
            kind,
            help=summary,
            description=f"{summary}: FILE to OUT, for `model: {{speech: {{pretrained: OUT}}}}` of a recipe.",
        )
        conversion.add_argument("file", metavar="FILE", type=Path, help=file_help)
        conversion.add_argument("output", metavar="OUT", type=Path, help="folder to make; it must not exist")
    parser.set_defaults(run=_convert)
    for kind, (summary, file_help) in _MODEL_CONVERSIONS.items():
        conversion = kinds.add_parser(
            kind,
            help=summary,
            description=f"{summary}: FILE to OUT, a model folder to evaluate, to search with, or to go on from.",
        )
        conversion.add_argument("file", metavar="FILE", type=Path, help=file_help)
        conversion.add_argument("output", metavar="OUT", type=Path, help="folder to make; it must not exist")
        conversion.add_argument(
            "--tokenizer",
            metavar="FOLDER_OR_NAME",
            help="folder or Hub name of the text encoder's tokenizer; default: the published one, by its Hub name",
        )
        conversion.set_defaults(run=_convert_clap)


def _convert_clap(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.hub.published_clap import convert_clap, write_clap

    disable_progress_bar()
    clap = convert_clap(arguments.kind, arguments.file, arguments.output, arguments.tokenizer)
    write_clap(clap, arguments.output)
    config = clap.model.config
    towers = " and ".join(
        f"{tower.model_type} of {tower.num_hidden_layers} layers"
        for tower in (config.audio_config, config.text_config)
    )
    print(
        f"{arguments.output}: {clap.model.num_parameters():,} weights, {towers}, embeddings of "
        f"{config.projection_dim}, logit scale {clap.model.logit_scale.item():.1f}"
    )
    if clap.left_out:
        print(f"left out, as no part of an embedding: {', '.join(clap.left_out)}")
    for name, size, published in clap.other_sizes:
        print(f"not the published size: {name} is {size}, published {published}")
    print(f"for a recipe: --set model.init_from={arguments.output}; to evaluate: --model NAME={arguments.output}")


def _convert(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.hub.speaker_weights import convert, write_tower

    disable_progress_bar()
    tower = convert(arguments.kind, arguments.file)
    write_tower(tower, arguments.output)
    config, weights = tower.model.config, tower.model.num_parameters()
    print(
        f"{arguments.output}: {type(tower.model).__name__}, {weights:,} weights, {config.num_mel_bins} mel bins, "
        f"embeddings of {config.hidden_size}, features of {tower.features.front_end}"
    )
    if tower.left_out:
        print(f"left out, as no part of the encoder: {', '.join(tower.left_out)}")
    print(f"for a recipe: --set model.speech.pretrained={arguments.output}")


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="fit what a model's cosines mean",
        description=(
            "Fits probabilities (Platt scaling: captions that fit against captions that do not, at even odds) and "
            "percentiles (against random clips and captions), and stores them in MODEL/config.json. Take pairs that "
            "the model was not trained on. A run does this by itself, on its validation rows."
        ),
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="exported model")
    parser.add_argument(
        "--manifest", nargs="+", action="extend", required=True, metavar="[NAME=]FILE", help="corpora; all weigh the "
        "same",
    )  # fmt: skip
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"), help="rows to use")
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifests say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and count them")
    parser.add_argument("--seed", type=int, default=0, help="of the captions that are drawn")
    parser.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.commands import calibrate_folder

    disable_progress_bar()
    calibrate_folder(
        arguments.model, arguments.manifest, arguments.split, arguments.audio_root, arguments.skip_bad, arguments.seed
    )


def _add_rerank(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "rerank",
        help="choose among clips by how they sound",
        description=(
            "Ranks clips by a caption (--text), by a clip that sounds as wanted (--reference), or by both, and prints "
            "the ranking as JSON; or, with --table, those of every prompt of a table, a JSON line a prompt."
        ),
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="exported model")
    clips = parser.add_argument(
        "clips", metavar="CLIPS", nargs="+", type=Path, help="recordings, or folders to search for them"
    )
    # With "*" the parser would take them for none as soon as an option stands between MODEL and CLIPS.
    clips.required = False
    parser.add_argument("--text", help="how the wanted speech sounds")
    parser.add_argument("--reference", type=Path, metavar="CLIP", help="a clip that sounds as wanted")
    parser.add_argument(
        "--reference-weight", type=float, default=0.5, metavar="W", help="score = (1 - W) · cosine with the caption + "
        "W · cosine with the reference, where there are both (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--table", type=Path, help="CSV, TSV, JSON, JSON lines or Parquet with the columns prompt, candidate, and, "
        "where there are such, reference and id (rows of one id are candidates for one choice)",
    )  # fmt: skip
    parser.add_argument(
        "--columns", nargs="+", action="extend", metavar="OURS=THEIRS", help="names of columns in the table"
    )
    parser.add_argument("--audio-root", type=Path, help="folder that paths in the table start from (default: its own)")
    parser.add_argument("--output", type=Path, metavar="FILE", help=".json or .jsonl to write instead of printing")
    parser.add_argument("--top", type=_at_least_one, metavar="K", help="keep the K best of each ranking")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows and recordings out, and list them")
    parser.set_defaults(run=partial(_rerank, parser))


def _at_least_one(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"'{word}'; expected a whole number, 1 or more")
    return int(word)


def _rerank(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    of_clips = {"CLIPS": arguments.clips, "--text": arguments.text, "--reference": arguments.reference}
    of_table = {"--columns": arguments.columns, "--audio-root": arguments.audio_root}
    strange = [name for name, value in (of_clips if arguments.table else of_table).items() if value is not None]
    if strange:
        parser.error(f"{strange[0]} is of no use {'with' if arguments.table else 'without'} --table")
    if not arguments.table and not arguments.clips:
        parser.error("no clips; name recordings or a folder of them, or --table")

    from transformers.utils.logging import disable_progress_bar

    from raclap.commands import rerank_clips, rerank_table
    from raclap.corpora.options import read_pairs

    disable_progress_bar()
    common = {name: getattr(arguments, name) for name in ("reference_weight", "output", "top", "skip_bad")}
    if arguments.table:
        columns = read_pairs("columns", arguments.columns or ())
        rerank_table(arguments.model, arguments.table, audio_root=arguments.audio_root, columns=columns, **common)
    else:
        rerank_clips(arguments.model, arguments.clips, arguments.text, arguments.reference, **common)
