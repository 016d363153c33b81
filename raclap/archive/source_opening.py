"""Which kind of source a path or address names."""

from pathlib import Path

import pyarrow as pa

from raclap.archive.dataset_address import DatasetOptions, is_on_hub
from raclap.archive.dataset_opening import open_dataset
from raclap.archive.dataset_parts import is_recording, open_parquet
from raclap.archive.dataset_source import DatasetSource
from raclap.archive.facts import ArchiveError
from raclap.archive.folder_source import FolderSource
from raclap.archive.manifest_source import ManifestSource
from raclap.archive.sources import Source
from raclap.corpora.hub_dataset import SAVED
from raclap.corpora.listing import AUDIO_SUFFIXES
from raclap.data.manifest import read_manifest


def open_source(
    source: Path | str,
    audio_root: Path | None = None,
    dataset: DatasetOptions | None = None,
    progress: bool = False,
) -> Source:
    """The source that a path or address names.

    Args:
        source: a folder of recordings, a manifest (.parquet, or a folder of `part-*.parquet`), or a data set:
            `hf://datasets/NAME`, a folder that `save_to_disk` wrote, or Parquet files with recordings in them.
        audio_root: where the audio of a manifest lies, if not where it says.
        dataset: which rows of a data set are meant; None: all.
        progress: show a bar while the rows of a data set are looked at.

    Raises:
        ArchiveError: there is nothing, or nothing of that kind, or an option is of no use with it.
        ManifestError: the manifest is not as it should be.
    """
    try:
        return _source_of(source, audio_root, dataset or DatasetOptions(), progress)
    except PermissionError as error:
        raise ArchiveError(f"{source}: cannot be looked at ({error.strerror})") from error


def _source_of(source: Path | str, audio_root: Path | None, dataset: DatasetOptions, progress: bool) -> Source:
    path = Path(source)
    if not is_on_hub(source) and not path.exists():
        raise ArchiveError(f"{source}: no such folder or manifest (a data set of the Hub is hf://datasets/NAME)")
    if is_on_hub(source) or dataset.is_dataset or is_dataset(path):
        if audio_root is not None:
            raise ArchiveError(f"audio_root: {source} is a data set, whose recordings are in it or below it")
        return DatasetSource(open_dataset(source, dataset), progress)
    if dataset.given:
        raise ArchiveError(f"{dataset.given[0]}: {source} is no data set; --dataset reads a folder as one")
    if path.suffix.lower() == ".parquet" or (path.is_dir() and any(path.glob("part-*.parquet"))):
        return ManifestSource(read_manifest(path, audio_root))
    if audio_root is not None:
        raise ArchiveError(f"audio_root: {path} is no manifest, whose audio could lie elsewhere")
    if not path.is_dir():
        raise ArchiveError(f"{path}: expected a folder of recordings, a manifest (.parquet) or hf://datasets/NAME")
    return FolderSource(path.resolve())


def is_dataset(path: Path) -> bool:
    """Whether a file or folder is a data set beyond doubt.

    It is one if `save_to_disk` wrote it, if it is a Parquet file of rows with recordings in them, or if it holds
    such files and no recording beside them.
    """
    if path.is_file():
        return path.suffix.lower() == ".parquet" and _has_recordings(path)
    if any((path / name).is_file() for name in SAVED):
        return True
    shard = next(path.glob("part-*.parquet"), None)
    if shard is not None:  # a manifest has files of such names, too
        return _has_recordings(shard)
    tables = []
    for below in path.rglob("*"):
        if below.suffix.lower() in AUDIO_SUFFIXES:
            return False
        if below.suffix.lower() == ".parquet":
            tables.append(below)
    return any(map(_has_recordings, tables))


def _has_recordings(path: Path) -> bool:
    try:
        return any(is_recording(field.type) for field in open_parquet(str(path)).schema_arrow)
    except (OSError, pa.ArrowException):
        return False
