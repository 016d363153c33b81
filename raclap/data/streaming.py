"""Corpora too large to be held: rows are read from their files as they are needed, and a run can go on anywhere.

Of each corpus every training process sees passes without end. A pass takes the row groups of all files in an order of
its own; of these rows, in turn, each process has every P-th; it reads them window by window and shuffles within a
window (as CorgiPile does: Xu et al., SIGMOD 2022). All processes leave a pass after equally many rows, so that no row
is twice in a global batch.

`datasets` reads the files, deals the rows and tells how far it has come. Its own shuffling buffer is not used: what is
in it is lost where a run goes on. A window is read again instead, from the state before it.

Shapes: P processes, N rows of a window.
"""

import glob
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Features, IterableDataset, load_dataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import Dataset

from raclap.data.inspection import Inspection, Skipped, Trim, inspect_audio
from raclap.data.manifest import SCHEMA, Manifest, check_rows, find_manifest, to_schema
from raclap.data.manifest_files import ManifestFiles
from raclap.data.table_rows import TableRows
from raclap.errors import ManifestError
from raclap.recipe import CorpusRecipe

# What an example and its notes are made of; more would only fill the window.
_COLUMNS = ("pair_id", "audio", "captions", "corpus", "split", "start", "end", "style_key")


@dataclass(frozen=True)
class StreamedRows:
    """The rows of one split of a manifest, of which only the files are known.

    Attributes:
        files: where they lie.
        split: `train`.
    """

    files: ManifestFiles
    split: str

    @property
    def path(self) -> Path:
        """The manifest."""
        return self.files.path

    def __len__(self) -> int:
        return self._size

    def distinct(self, name: str) -> set[str]:
        """The values of one column, without null. The column is read at the first time."""
        if name not in self._known:
            self._known[name] = self.files.distinct(name, self.split)
        return self._known[name]

    def has_values(self, name: str) -> bool:
        """Whether a column is not null throughout, as far as the files tell without being read."""
        return self.files.has_values(name)

    @cached_property
    def _size(self) -> int:
        return self.files.count(self.split)

    @cached_property
    def _known(self) -> dict[str, set[str]]:
        return {}


@dataclass(frozen=True)
class StreamedCorpus:
    """A corpus of a recipe whose training rows are streamed; in the place of an `Inspection`.

    Attributes:
        manifest: its rows.
        rate: Hz that clips are given at.
        trim: see `Inspection`.
        skipped: none before training: bad recordings are found as they are read.
    """

    manifest: StreamedRows
    rate: int
    trim: Trim | None
    skipped: list[Skipped] = field(default_factory=list)

    def inspection(self, rows: Manifest) -> Inspection:
        """Some of its rows, which were read, with a way to their sound; no recording is opened."""
        return inspect_audio(rows, self.rate, self.trim, check="none", progress=False)

    @cached_property
    def source(self) -> IterableDataset:
        """All rows, in row groups, as Arrow tables.

        Raises:
            ManifestError: its files have different columns.
        """
        files = self.manifest.files
        columns = _columns(files)
        with tempfile.TemporaryDirectory() as unused:  # a stream is not cached, but a lock file would be left behind
            found = load_dataset(
                "parquet",
                data_files={self.manifest.split: [glob.escape(str(file.resolve())) for file in files.files]},
                split=self.manifest.split,
                streaming=True,
                cache_dir=unused,
                columns=columns,
                features=Features.from_arrow_schema(pa.schema([SCHEMA.field(name) for name in columns])),
                filters=[("split", "==", self.manifest.split)],
            )
        return found.reshard().with_format("arrow")


def stream_split(corpus: CorpusRecipe, split: str, rate: int, trim: Trim | None) -> StreamedCorpus:
    """Finds the rows of a corpus that are to be streamed.

    Args:
        corpus: its recipe.
        split: `train`.
        rate, trim: see `StreamedCorpus`.

    Raises:
        ManifestError: the manifest is not as it should be, as far as can be told without reading rows, or has no rows
            of the split.
    """
    rows = StreamedRows(find_manifest(corpus.manifest, corpus.audio_root), split)
    if not len(rows):
        raise ManifestError(f"{rows.path}: no rows of the split '{split}'")
    return StreamedCorpus(rows, rate, trim)


class Window(NamedTuple):
    """Rows that were read and are shuffled together, and what makes examples of them."""

    rows: Manifest
    examples: Dataset


class RowStream:
    """Rows of one corpus without end, as one training process draws them.

    Args:
        corpus: whose rows.
        process, processes: which of P, counted from 0.
        buffer: rows of a window.
        seed: of the order; the same for all processes.
        examples_of: makes the examples of some rows.
    """

    def __init__(
        self,
        corpus: StreamedCorpus,
        process: int,
        processes: int,
        buffer: int,
        seed: Sequence[int],
        examples_of: Callable[[list[Inspection]], Dataset],
    ):
        self._rows_per_pass = len(corpus.manifest) // processes
        self._corpus = corpus
        self._process = process
        self._processes = processes
        self._buffer = buffer
        self._seed = tuple(seed)
        self._examples_of = examples_of
        self._begin(0)

    def take(self, count: int) -> list[tuple[Window, np.ndarray]]:
        """The next rows, by window. All are of one pass: if too few are left in it, the next one begins.

        Raises:
            ManifestError: rows are not as they should be.
        """
        if self._rows_per_pass - self._taken < count:
            self._begin(self._pass + 1)
        found = []
        while count:
            place = self._taken - self._first
            if place == len(self._order):
                self._read(self._taken)
                continue
            rows = self._order[place : place + count]
            found.append((self._window, rows))
            self._taken += len(rows)
            count -= len(rows)
        return found

    def state_dict(self) -> dict[str, Any]:
        """How far it has come, as values that JSON knows: pass, rows taken in it, and the window they are in."""
        return {"pass": self._pass, "taken": self._taken, "first": self._first, "source": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self._begin(state["pass"], state["source"])
        self._read(state["first"])
        self._taken = state["taken"]

    def _begin(self, number: int, state: dict[str, Any] | None = None) -> None:
        """Begins a pass, or goes on in it from a state of its source."""
        self._pass, self._taken, self._first = number, 0, 0
        self._order = np.zeros(0, np.int64)
        self._before = state
        self._source = split_dataset_by_node(self._corpus.source, self._process, self._processes, strategy="examples")
        # The order of row groups follows from the epoch; in epoch 0 it would be that of the files.
        self._source.set_epoch(1 + int(np.random.SeedSequence([*self._seed, number]).generate_state(1)[0]))
        if state is not None:
            self._source.load_state_dict(state)
        self._tables = self._source.iter(batch_size=self._buffer)

    def _read(self, first: int) -> None:
        """Reads the next window, which begins with the row of this number in the pass."""
        if len(self._order):  # not the window that a pass, or a run, begins with: its state is known
            self._before = self._source.state_dict()
        path = self._corpus.manifest.path
        try:
            rows = next(self._tables, None)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise ManifestError(f"{path}: rows cannot be read ({error})") from error
        if rows is None:
            raise ManifestError(f"{path}: has fewer rows than when it was opened")
        rows = check_rows(to_schema(rows.combine_chunks(), path), path, first_row=None)
        window = Manifest(TableRows(rows), self._corpus.manifest.files.audio_root, path)
        self._window = Window(window, self._examples_of([self._corpus.inspection(window)]))
        seed = [*self._seed, self._pass, self._process, first // self._buffer]
        self._order = np.random.default_rng(seed).permutation(len(rows))
        self._first = first


def _columns(files: ManifestFiles) -> list[str]:
    """Those of `_COLUMNS` that the files have."""
    found = {file: [name for name in _COLUMNS if name in schema.names] for file, schema in files.schemas()}
    columns = found[files.files[0]]
    for file, own in found.items():
        if own != columns:
            raise ManifestError(f"{file}: has other columns than {files.files[0].name}")
    return columns
