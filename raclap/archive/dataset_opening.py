"""Opening a data set for an index: which splits and files it has, and in which column its recordings are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raclap.archive.dataset_address import (
    HUB,
    ONLY_CONFIG,
    DatasetOptions,
    RowAddress,
    commit_of,
    is_on_hub,
    read_hub_address,
    root_of,
)
from raclap.archive.dataset_failures import OFFLINE, explained
from raclap.archive.dataset_parts import (
    ArrowPart,
    ParquetPart,
    Part,
    StreamedPart,
    holds_recordings,
    is_recording,
    open_parquet,
    tables_of,
)
from raclap.archive.dataset_versions import FileVersions
from raclap.archive.facts import ArchiveError
from raclap.corpora.hub_dataset import SAVED

_ONLY_SPLIT = "train"  # what the library calls the split of rows that are of none


@dataclass(frozen=True)
class OpenDataset:
    """A data set, as it is now.

    Attributes:
        root: what an index calls it.
        name: of its rows, in the column `corpus`.
        folder: that it lies in; None where it is on the Hub.
        parts: its data files, split by split.
        row_schema: of the rows without their recordings.
        features: of `datasets`, by column.
        versions: of its files.
        splits: those that are read, where not all are.
    """

    root: str
    name: str
    folder: Path | None
    parts: tuple[Part, ...]
    row_schema: pa.Schema
    features: Mapping[str, Any]
    versions: FileVersions
    splits: tuple[str, ...] = ()


def open_dataset(source: str | Path, options: DatasetOptions) -> OpenDataset:
    """Opens a data set; of its rows few are read, or none.

    Args:
        source: `hf://datasets/NAME`, a folder, or a Parquet file.
        options: which rows are meant.

    Raises:
        ArchiveError: there is no such data set, configuration, split, revision or column, or it cannot be reached.
    """
    import datasets

    datasets.disable_progress_bars()
    if is_on_hub(source):
        name, revision = read_hub_address(str(source), options.revision)
        with explained(str(source), name, revision, options.config):
            return _on_hub(str(source), name, revision, options)
    if options.revision:
        raise ArchiveError(f"{source}: lies on this machine, where it has no revisions (--revision)")
    path = Path(source).resolve()
    with explained(str(source), str(path), None, options.config):
        if path.is_dir() and any((path / name).is_file() for name in SAVED):
            return _saved(str(source), path, options)
        return _on_this_machine(str(source), path, options)


def _on_hub(source: str, name: str, revision: str | None, options: DatasetOptions) -> OpenDataset:
    import datasets

    builder = datasets.load_dataset_builder(name, options.config, revision=revision)
    files = _files(builder)
    if not files:  # what the library has in its cache, where the Hub cannot be reached
        raise ArchiveError(f"{source}: {OFFLINE}")
    commit = commit_of(next(iter(files.values()))[0])
    if commit is None:
        hidden = f"the folder {name} here hides it; run the command in another folder"
        raise ArchiveError(f"{source}: {hidden if Path(name).exists() else 'its files are not on the Hub'}")
    base = f"{HUB}{name}@{commit}"
    reading = _Reading(source, base, builder, files, FileVersions(base), options)
    return reading.opened(root_of(HUB + name, builder.config.name), name, None)


def _on_this_machine(source: str, path: Path, options: DatasetOptions) -> OpenDataset:
    import datasets

    if path.is_file():
        if options.config:
            raise ArchiveError(f"{source}: is a file, which has no configurations (--config)")
        builder = datasets.load_dataset_builder("parquet", data_files={_ONLY_SPLIT: str(path)})
    else:
        builder = datasets.load_dataset_builder(str(path), options.config)
    reading = _Reading(source, str(path), builder, _files(builder), FileVersions(), options)
    root = root_of(str(RowAddress(str(path))), ONLY_CONFIG if path.is_file() else builder.config.name)
    return reading.opened(root, path.stem if path.is_file() else path.name, path)


def _saved(source: str, folder: Path, options: DatasetOptions) -> OpenDataset:
    """What `save_to_disk` wrote."""
    import datasets

    if options.config:
        raise ArchiveError(f"{source}: was written by save_to_disk, which knows no configurations (--config)")
    loaded = datasets.load_from_disk(str(folder))
    held = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or _ONLY_SPLIT): loaded}
    files = {split: [file["filename"] for file in own.cache_files] for split, own in held.items()}
    splits = _chosen(source, files, options.splits)
    features = held[splits[0]].features
    schema = features.arrow_schema
    column = _audio_column(source, schema, features, options.audio_column)
    versions = FileVersions()
    parts = tuple(
        ArrowPart(split, _below(file, str(folder)), versions.of(column, files=[file]), file, column)
        for split in splits
        for file in files[split]
    )
    root = str(RowAddress(str(folder)))
    return OpenDataset(root, folder.name, folder, parts, _without(schema, column), features, versions, options.splits)


@dataclass(frozen=True)
class _Reading:
    """How a builder of `datasets` becomes parts.

    Attributes:
        source: as it was given, for messages.
        base: `hf://datasets/NAME@COMMIT`, or a path.
        builder: of the data set.
        files: of each split.
        versions: of the files.
        options: which rows are meant.
    """

    source: str
    base: str
    builder: Any
    files: Mapping[str, list[str]]
    versions: FileVersions
    options: DatasetOptions

    def opened(self, root: str, name: str, folder: Path | None) -> OpenDataset:
        """The data set."""
        from datasets.packaged_modules.parquet.parquet import Parquet

        splits = _chosen(self.source, self.files, self.options.splits)
        found = self._parquet(splits) if isinstance(self.builder, Parquet) else self._streamed(splits)
        parts, schema, features = found
        return OpenDataset(root, name, folder, tuple(parts), schema, features, self.versions, self.options.splits)

    def _parquet(self, splits: tuple[str, ...]) -> tuple[list[Part], pa.Schema, Mapping[str, Any]]:
        import datasets

        schema = _parquet_schema([file for split in splits for file in self.files[split]])
        features = self.builder.info.features or datasets.Features.from_arrow_schema(schema)
        column = self._column(schema, features)
        parts = [
            ParquetPart(split, _below(file, self.base), self.versions.of(column, files=[file]), file, column)
            for split in splits
            for file in self.files[split]
        ]
        return parts, _without(schema, column), features

    def _streamed(self, splits: tuple[str, ...]) -> tuple[list[Part], pa.Schema, Mapping[str, Any]]:
        streams = {split: self.builder.as_streaming_dataset(split) for split in splits}
        features = streams[splits[0]].features or {}
        if features:
            schema = features.arrow_schema
        else:
            first = next(tables_of(streams[splits[0]]), None)
            schema = pa.schema([]) if first is None else first.schema
        column = self._column(schema, features)
        parts = [part for split in splits for part in self._parts(split, streams[split], column)]
        return parts, _without(schema, column), features

    def _parts(self, split: str, stream: Any, column: str) -> list[Part]:
        """A part a file, where the library can tell them apart."""
        from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder

        is_folder = isinstance(self.builder, FolderBasedBuilder)
        files, count = self.files[split], stream.num_shards
        shares = [[file] for file in files] if count == len(files) else [files]
        parts = []
        for number, own in enumerate(shares):
            name = _below(own[0], self.base) if len(own) == 1 else f"split {split}"
            rows = stream.shard(num_shards=len(shares), index=number) if len(shares) > 1 else stream
            place = {"config": self.builder.config.name, "split": split, "part": number, "parts": len(shares)}
            version = self.versions.of(column, files=own)
            address = RowAddress(self.base, part={name: str(value) for name, value in place.items()})
            parts.append(StreamedPart(split, name, version, rows, address, column, is_folder))
        return parts

    def _column(self, schema: pa.Schema, features: Mapping[str, Any]) -> str:
        return _audio_column(self.source, schema, features, self.options.audio_column)


def _parquet_schema(files: Sequence[str]) -> pa.Schema:
    """The columns of the first file that is not damaged."""
    for file in files[:-1]:
        try:
            return open_parquet(file).schema_arrow
        except pa.ArrowInvalid:
            continue
    return open_parquet(files[-1]).schema_arrow


def _without(schema: pa.Schema, column: str) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != column])


def _files(builder: Any) -> dict[str, list[str]]:
    return {str(split): list(files) for split, files in (builder.config.data_files or {}).items() if files}


def _chosen(source: str, known: Mapping[str, Any], wanted: tuple[str, ...]) -> tuple[str, ...]:
    strange = [split for split in wanted if split not in known]
    if strange:
        raise ArchiveError(f"{source}: has no split '{strange[0]}'; there are {', '.join(known)} (--split)")
    if not known:
        raise ArchiveError(f"{source}: a data set without rows")
    return tuple(dict.fromkeys(wanted)) or tuple(known)


def _audio_column(source: str, schema: pa.Schema, features: Mapping[str, Any], wanted: str | None) -> str:
    import datasets

    columns = f"its columns are {', '.join(schema.names)}"
    if wanted is not None:
        if wanted not in schema.names:
            raise ArchiveError(f"{source}: has no column '{wanted}'; {columns} (--audio-column)")
        if not holds_recordings(schema.field(wanted).type):
            raise ArchiveError(f"{source}: column '{wanted}' holds no recordings, neither bytes nor paths; {columns}")
        return wanted
    audio = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    found = audio or [field.name for field in schema if is_recording(field.type)]
    if not found:
        raise ArchiveError(f"{source}: no column is of the feature Audio; {columns}; --audio-column names one of them")
    if len(found) > 1:
        raise ArchiveError(
            f"{source}: has several columns of recordings, {', '.join(found)}; --audio-column names one"
        )
    return found[0]


def _below(file: str, base: str) -> str:
    """A file as the data set calls it."""
    return file.removeprefix(base).lstrip("/") or Path(file).name
