"""Batches of streamed corpora: exact mixtures, loader processes, and a position that a run goes on from.

Every loader process follows the rows of its training process, which are cheap, and makes each W-th batch of them,
which is dear. So the batches are the same with any number of loader processes. With each batch comes the position
after it: what the training process has been given, and not what was read ahead, is where a run goes on.

torchdata's StatefulDataLoader is not used: behind Accelerate every process would pickle its state into one and the
same file.

Shapes: B pairs of a global batch, P training processes, W loader processes of each, C corpora.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from tqdm import tqdm

from raclap.data.dataset import Example
from raclap.data.inspection import Inspection, Skipped
from raclap.data.sampling import Draw
from raclap.data.streaming import RowStream, StreamedCorpus, Window
from raclap.errors import AudioError, RaClapError, RecipeError

Position = list[dict[str, Any]]  # of each corpus, see `RowStream.state_dict`

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio


@dataclass(frozen=True)
class ProcessMixture:
    """How many rows of each corpus a training process puts into its part of each batch.

    Attributes:
        sizes: (C,) rows of each corpus.
        shares: (C,) pairs of each corpus in a batch, up to a common factor; None: by size.
        batch_size: B.
        processes: P.

    Raises:
        RecipeError: the part of a process cannot be such a mixture; the message says which sizes can.
    """

    sizes: tuple[int, ...]
    shares: tuple[int, ...] | None
    batch_size: int
    processes: int

    def __post_init__(self) -> None:
        step = self.processes
        if self.shares is not None:
            # A factor that all shares have in common is split over processes by itself.
            step = sum(self.shares) * self.processes // math.gcd(self.processes, *self.shares)
        if self.batch_size % step:
            below = self.batch_size // step * step
            raise RecipeError(
                f"training.batch_size {self.batch_size}: with streaming each of {self.processes} processes draws its "
                f"own whole part{'' if self.shares is None else ' of ' + ':'.join(map(str, self.shares))}; "
                f"{f'{below} or ' if below else ''}{below + step} can be split so"
            )

    @property
    def own_size(self) -> int:
        """Pairs of a batch in one process: B / P."""
        return self.batch_size // self.processes

    @property
    def most(self) -> list[int]:
        """(C,) the most rows of each corpus that `counts` may ask for."""
        if self.shares is not None:
            return self.counts(0, 0)
        return [min(self.own_size, math.ceil(self.own_size * size / sum(self.sizes)) + 3) for size in self.sizes]

    def counts(self, step: int, process: int) -> list[int]:
        """(C,) rows of each corpus in the part of a process at a step.

        By size, corpora are spread over all pairs since the first step as evenly as whole numbers can be: multiples
        of the golden ratio, modulo one, fall into an interval by its length.
        """
        if self.shares is not None:
            return [share * self.own_size // sum(self.shares) for share in self.shares]
        first = step * self.batch_size + process * self.own_size
        places = (np.arange(first, first + self.own_size, dtype=np.uint64) * _GOLDEN) / 2.0**64
        owners = np.searchsorted(np.cumsum(self.sizes[:-1]) / sum(self.sizes), places, side="right")
        return np.bincount(owners, minlength=len(self.sizes)).tolist()


@dataclass(frozen=True)
class StreamedBatch:
    """What a loader process sends.

    Attributes:
        inputs: of the model, and notes.
        position: of the training process after the batch.
        skipped: bad recordings that were met, each after the name of its corpus.
        error: why there is no batch.
    """

    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    position: Position = field(default_factory=list)
    skipped: tuple[tuple[str, Skipped], ...] = ()
    error: RaClapError | None = None

    def pin_memory(self) -> "StreamedBatch":
        """For the loader's thread that readies batches for the accelerator."""
        return replace(self, inputs={name: value.pin_memory() for name, value in self.inputs.items()})


class Start(NamedTuple):
    """Where a stream begins: at a step, and the position there; None at its own beginning."""

    step: int = 0
    position: Position | None = None


class StreamDataset(IterableDataset[StreamedBatch]):
    """The batches of one training process, without end.

    Args:
        corpora: by name.
        mixture: what a batch holds.
        process: which of P, counted from 0.
        buffer: rows of a corpus that are shuffled at a time.
        seed: of the order of rows.
        skip_bad: put another row of the window in the place of one with a bad recording, instead of stopping.
        examples_of: makes the examples of some rows.
        collate: makes a batch of them.

    Raises:
        RecipeError: a corpus is smaller than what is asked of it.
        ManifestError: the files of a corpus cannot be opened.
    """

    def __init__(
        self,
        corpora: Mapping[str, StreamedCorpus],
        mixture: ProcessMixture,
        process: int,
        buffer: int,
        seed: int,
        skip_bad: bool,
        examples_of: Callable[[list[Inspection]], Dataset],
        collate: Callable[[list[Example]], dict[str, Tensor]],
    ):
        self.start = Start()
        self._corpora = dict(corpora)
        self._mixture = mixture
        self._process = process
        self._buffer = buffer
        self._seed = seed
        self._skip_bad = skip_bad
        self._examples_of = examples_of
        self._collate = collate
        for (name, corpus), most in zip(corpora.items(), mixture.most, strict=True):
            if len(corpus.manifest) // mixture.processes < most:
                raise RecipeError(
                    f"training.batch_size {mixture.batch_size} asks each of {mixture.processes} processes for {most} "
                    f"pairs of '{name}' at a time, but it has {len(corpus.manifest)} in all"
                )
            _ = corpus.source  # opened once, before processes branch off

    def __iter__(self) -> Iterator[StreamedBatch]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        try:
            streams = self._streams()
            for number, step in enumerate(itertools.count(self.start.step)):
                counts = self._mixture.counts(step, self._process)
                drawn = [stream.take(count) for stream, count in zip(streams, counts, strict=True)]
                if number % workers == worker:
                    yield self._batch(step, drawn, [stream.state_dict() for stream in streams])
        except RaClapError as error:
            yield StreamedBatch(error=error)

    def _streams(self) -> list[RowStream]:
        own, seed = (self._process, self._mixture.processes, self._buffer), self._seed
        streams = [
            RowStream(corpus, *own, (seed, number), self._examples_of)
            for number, corpus in enumerate(self._corpora.values())
        ]
        if self.start.position is not None:
            for stream, state in zip(streams, self.start.position, strict=True):
                stream.load_state_dict(state)
        return streams

    def _batch(self, step: int, drawn: Sequence[list[tuple[Window, np.ndarray]]], position: Position) -> StreamedBatch:
        examples: list[Example] = []
        skipped: list[tuple[str, Skipped]] = []
        first = step * self._mixture.batch_size + self._process * self._mixture.own_size
        for name, groups in zip(self._corpora, drawn, strict=True):
            for window, rows in groups:
                draws = [Draw(row, number) for number, row in enumerate(rows.tolist(), first + len(examples))]
                bad: list[Skipped] = []
                examples += self._examples(window, draws, bad)
                skipped += [(name, row) for row in bad]
        return StreamedBatch(self._collate(examples), position, tuple(skipped))

    def _examples(self, window: Window, draws: Sequence[Draw], bad: list[Skipped]) -> list[Example]:
        """Examples of some rows of a window; adds to `bad` the rows that others stand in for."""
        try:
            return window.examples.__getitems__(draws)
        except AudioError as error:
            if not self._skip_bad:
                raise AudioError(f"{error}; --skip-bad leaves bad rows out") from error
        used = {draw.row for draw in draws}
        return [self._good_example(window, draw, used, bad) for draw in draws]

    def _good_example(self, window: Window, draw: Draw, used: set[int], bad: list[Skipped]) -> Example:
        """The example of a row or, where its recording is bad, of another row that the batch does not have."""
        others = np.random.default_rng([self._seed, draw.number]).permutation(len(window.rows)).tolist()
        for row in itertools.chain([draw.row], (other for other in others if other not in used)):
            try:
                example = window.examples[Draw(row, draw.number)]
            except AudioError as error:
                bad.append(Skipped(window.rows[row].pair_id, str(error)))
            else:
                used.add(row)
                return example
        raise AudioError(f"{bad[-1].reason} (nor can another of {len(others)} rows stand in for it)")


class StreamLoader:
    """Batches of this process on its device, epoch by epoch, from where a checkpoint left off.

    Args:
        dataset: of this process.
        steps_per_epoch: batches in an epoch.
        workers: loader processes; 0: none beside this one.
        device: where batches go.
        left_out: where bad recordings are listed; None: nowhere.
    """

    def __init__(
        self,
        dataset: StreamDataset,
        steps_per_epoch: int,
        workers: int = 0,
        device: torch.device | str = "cpu",
        left_out: "LeftOutList | None" = None,
    ):
        self._dataset = dataset
        self._steps = steps_per_epoch
        self._workers = workers
        self._device = device
        self._left_out = left_out
        self._start_at(Start())

    def __len__(self) -> int:
        return self._steps

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch's remaining batches are iterated next: none at its end.

        Raises:
            ValueError: the stream is not in that epoch; it knows only the places that it comes by.
        """
        if not 0 <= self._step - epoch * self._steps <= self._steps:
            raise ValueError(f"the stream is at step {self._step}, which is not of epoch {epoch}")
        self._epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self._step < (self._epoch + 1) * self._steps:
            if self._batches is None:
                self._batches = iter(self._loader())
            batch: StreamedBatch = next(self._batches)
            if batch.error is not None:
                raise batch.error
            self._position = batch.position
            self._step += 1
            if self._left_out is not None:
                self._left_out.add(batch.skipped)
            yield send_to_device(dict(batch.inputs), self._device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """The place after the batch that was given last, as values that JSON knows."""
        return {"step": self._step, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self._start_at(Start(state["step"], state["position"]))

    def _start_at(self, start: Start) -> None:
        self._dataset.start = start
        self._step, self._position = start
        self._epoch = self._step // self._steps
        self._batches: Iterator[StreamedBatch] | None = None

    def _loader(self) -> DataLoader:
        return DataLoader(
            self._dataset,
            batch_size=None,  # the dataset gives whole batches
            collate_fn=_as_it_is,
            num_workers=self._workers,
            pin_memory=torch.cuda.is_available(),
        )


class LeftOutList:
    """Bad recordings that one process met while it streamed, one JSON object a line, each row once.

    Args:
        path: the file; a run that goes on adds to it.
    """

    def __init__(self, path: Path):
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._known = {(entry["corpus"], entry["pair_id"]) for entry in map(json.loads, lines)}

    def add(self, rows: Sequence[tuple[str, Skipped]]) -> None:
        """Lists rows, each after the name of its corpus, and says so at the first, tenth, hundredth."""
        for corpus, row in rows:
            if (corpus, row.pair_id) in self._known:
                continue
            self._known.add((corpus, row.pair_id))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"corpus": corpus, **asdict(row)}, ensure_ascii=False) + "\n")
            if len(self._known) == 10 ** (len(str(len(self._known))) - 1):
                tqdm.write(
                    f"left out {len(self._known)} bad recordings so far, see {self._path}; the last: {row.reason}"
                )


def _as_it_is(batch: StreamedBatch) -> StreamedBatch:
    return batch
