"""A folder that AutoModel loads anywhere: safetensors, configurations, tokenizer, card and the flat .py files."""

from pathlib import Path

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.errors import ModelFolderError
from raclap.files import replacing_folder


def export(model: RaClapModel, processor: RaClapProcessor, folder: Path, card: str) -> None:
    """Writes the folder, whole or not at all; an older one of the same name is replaced.

    Args:
        model, processor: what to save.
        folder: where.
        card: its README.md.
    """
    with replacing_folder(folder) as beside:
        model.save_pretrained(beside)
        processor.save_pretrained(beside)
        (beside / "README.md").write_text(card, encoding="utf-8")


def load(folder: Path | str) -> tuple[RaClapModel, RaClapProcessor]:
    """Loads an exported folder with this package's own code (nothing in the folder is executed).

    Raises:
        ModelFolderError: the folder is missing or incomplete; the message says what is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such model folder")
    weights = [*folder.glob("model.safetensors"), *folder.glob("model.safetensors.index.json")]
    for name, found in (
        ("config.json", (folder / "config.json").is_file()),
        ("model.safetensors", bool(weights)),
        ("processor_config.json", (folder / "processor_config.json").is_file()),
    ):
        if not found:
            raise ModelFolderError(f"{folder}: holds no {name}; is it a folder that training exported?")
    try:
        model, loading = RaClapModel.from_pretrained(folder, output_loading_info=True)
        processor = RaClapProcessor.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{folder}: cannot be loaded ({error})") from error
    if loading["missing_keys"]:
        raise ModelFolderError(f"{folder}: the weights lack '{sorted(loading['missing_keys'])[0]}'")
    return model.eval(), processor
