"""Reading an exported folder: for evaluation, for going on from it, and for teaching."""

from pathlib import Path

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.errors import ModelFolderError
from raclap.model_folder_check import check_model_folder


def load_model_folder(folder: Path | str) -> tuple[RaClapModel, RaClapProcessor]:
    """Loads an exported folder with this package's own code (nothing in the folder is executed).

    Returns:
        The model, in eval mode on the CPU, and its processor.

    Raises:
        ModelFolderError: the folder is missing, incomplete or refused (see `check_model_folder`), or cannot be loaded.
    """
    folder = Path(folder)
    check_model_folder(folder)
    try:
        model, loading = RaClapModel.from_pretrained(folder, output_loading_info=True)
        processor = RaClapProcessor.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{folder}: cannot be loaded ({error})") from error
    if loading["missing_keys"]:
        raise ModelFolderError(f"{folder}: the weights lack '{sorted(loading['missing_keys'])[0]}'")
    return model.eval(), processor
