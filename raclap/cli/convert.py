"""`raclap convert`: published weights become a speech tower or a model folder."""

import argparse
from pathlib import Path

CONVERSIONS = {  # what is converted: one line of help, and what FILE is
    "speechbrain-ecapa": (
        "SpeechBrain's ECAPA-TDNN, trained on VoxCeleb",
        "embedding_model.ckpt of speechbrain/spkrec-ecapa-voxceleb, or the same weights as .safetensors",
    ),
    "wespeaker-resnet34": (
        "WeSpeaker's ResNet-34 (or another of its ResNets of basic blocks)",
        "avg_model.pt of a WeSpeaker ResNet with one embedding layer, or the same weights as .safetensors",
    ),
}
MODEL_CONVERSIONS = {  # likewise, of whole models
    "paraspeechclap": (
        "ParaSpeechCLAP (intrinsic, situational or combined)",
        "the .pth.tar file of ajd12342/paraspeechclap-combined, -intrinsic or -situational, or the same weights as "
        ".safetensors",
    ),
    "paraclap": ("ParaCLAP", "best.pth.tar of KeiKinn/paraclap, or the same weights as .safetensors"),
}


def add_convert(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
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
    for kind, (summary, file_help) in CONVERSIONS.items():
        conversion = kinds.add_parser(
            kind,
            help=summary,
            description=f"{summary}: FILE to OUT, for `model: {{speech: {{pretrained: OUT}}}}` of a recipe.",
        )
        conversion.add_argument("file", metavar="FILE", type=Path, help=file_help)
        conversion.add_argument("output", metavar="OUT", type=Path, help="folder to make; it must not exist")
    parser.set_defaults(run=_convert)
    for kind, (summary, file_help) in MODEL_CONVERSIONS.items():
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
