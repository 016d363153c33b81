"""Reading an exported folder: for evaluation, for going on from it, and for teaching."""

from pathlib import Path

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.errors import ModelFolderError


def load_model_folder(folder: Path | str) -> tuple[RaClapModel, RaClapProcessor]:
    """Loads an exported folder with this package's own code (nothing in the folder is executed).

    Returns:
        The model, in eval mode on the CPU, and its processor.

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
