"""The recording of a row, read again by its address."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from raclap.archive.dataset_address import RowAddress, folder_of, is_on_hub, read_hub_address
from raclap.archive.dataset_failures import OFFLINE, is_unreachable
from raclap.archive.dataset_parts import open_arrow, open_parquet, tables_of
from raclap.corpora.hub_dataset import failures, fetch_recording, first_line
from raclap.errors import AudioError

_KEPT = 4  # moments of one recording often follow one another
_ROWS = 16  # read at a time


@lru_cache(maxsize=_KEPT)
def read_row(address: str, root: str) -> bytes:
    """What the file of a recording would hold.

    Args:
        address: of its row, see `RowAddress`.
        root: of its data set; on this machine, nothing that is not below it is read.

    Raises:
        AudioError: it is not there any more, lies elsewhere, or cannot be reached.
    """
    try:
        place = RowAddress.read(address)
    except (ValueError, KeyError) as error:
        raise AudioError(f"{address}: no address of a row") from error
    folder = folder_of(root)
    if not is_on_hub(place.file.rpartition("::")[2]) and not _is_below(folder, place.file.rpartition("::")[2]):
        raise AudioError(f"{address}: lies outside of {root}")
    try:
        if place.row is None:
            return fetch_recording(folder or Path(), place.file)
        value = _value(place)
    except failures() as error:
        raise AudioError(f"{address}: {OFFLINE if is_unreachable(error) else first_line(error)}") from error
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise AudioError(f"{address}: there is no recording in this row any more")
    return data


def row_is_there(address: str) -> bool:
    """Whether the file is that a row lies in; nobody asks the Hub."""
    try:
        file = RowAddress.read(address).file.rpartition("::")[2]
    except (ValueError, KeyError):
        return False
    return is_on_hub(file) or Path(file).exists()


def _is_below(folder: Path | None, file: str) -> bool:
    return folder is not None and Path(file).resolve().is_relative_to(folder)


def _value(place: RowAddress) -> Any:
    """What the column of recordings holds; None where there is no such row."""
    if place.part:
        return _streamed(place)
    if place.file.endswith(".arrow"):
        column = open_arrow(place.file)[place.column]
        return column[place.row].as_py() if place.row < len(column) else None
    with open_parquet(place.file) as file:
        first = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if place.row < first + count:
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[place.column]):
                    if place.row < first + len(batch):
                        return batch.column(0)[place.row - first].as_py()
                    first += len(batch)
            first += count
    return None


def _streamed(place: RowAddress) -> Any:
    import datasets

    name, revision = read_hub_address(place.file) if is_on_hub(place.file) else (place.file, None)
    builder = datasets.load_dataset_builder(name, place.part["config"], revision=revision)
    rows = builder.as_streaming_dataset(place.part["split"])
    if place.part["parts"] != "1":
        rows = rows.shard(num_shards=int(place.part["parts"]), index=int(place.part["part"]))
    for table in tables_of(rows.skip(place.row).take(1)):
        return table[place.column][0].as_py()
    return None
