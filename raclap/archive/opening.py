"""Opening an index together with the model that made it."""

from pathlib import Path

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.archive.address import is_address
from raclap.archive.facts import ArchiveError
from raclap.archive.store import ArchiveIndex
from raclap.model_folder import load_model_folder
from raclap.model_folder_check import check_model_folder
from raclap.processes import join_processes
from raclap.provenance import weights_digests


def open_with_model(
    path: str | Path, model_folder: Path | str | None = None
) -> tuple[ArchiveIndex, RaClapModel, RaClapProcessor]:
    """Opens an index and loads the model that made it, in eval mode, onto the device to use.

    Args:
        path: of the index, or its address.
        model_folder: where that model lies; None: where it lay when the index was made.

    Raises:
        ArchiveError: there is no index, its model is no longer there, or the folder holds another model.
        ModelFolderError: the folder holds no model.
    """
    index = ArchiveIndex.open(path if is_address(path) else Path(path))
    folder = Path(index.facts.model.name if model_folder is None else model_folder)
    if model_folder is None and not folder.is_dir():
        raise ArchiveError(f"{path}: the model that made it, {folder}, is not there; name its folder with --model")
    check_model_folder(folder)
    if weights_digests(folder) != dict(index.facts.model.weights):
        raise ArchiveError(
            f"{path}: made by {index.facts.model.name}, but {folder} holds other weights; vectors of two models "
            f"cannot be compared"
        )
    model, processor = load_model_folder(folder)
    return index, model.to(join_processes().device), processor
