"""`raclap index`: an archive of recordings becomes an index, or an index is brought up to what the archive is now.

Under several processes each takes its own recordings (`Source.waiting`), so that nobody has to hand them out.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.archive.address import is_address, write_file
from raclap.archive.ahead import reading_ahead
from raclap.archive.changes import HeldRecordings, plan
from raclap.archive.dataset_address import DatasetOptions
from raclap.archive.embedding import Embedded, EmbeddedRecording, WindowEmbedder, bytes_ahead, size_of
from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts, facts_exist, read_facts
from raclap.archive.nearest import approximate_is_due, build_approximate
from raclap.archive.progress import IndexingBar
from raclap.archive.reading import CarriedOver, RecordingReader
from raclap.archive.recipe import USUAL, IndexSettings
from raclap.archive.source_opening import open_source
from raclap.archive.sources import Entry, Source, Unreadable
from raclap.archive.store import ArchiveIndex
from raclap.archive.voice_activity import VoiceDetector
from raclap.archive.writing import IndexWriter
from raclap.data.audio import LONGEST_SECONDS, SHORTEST_SECONDS
from raclap.model_folder import load_model_folder
from raclap.model_folder_check import check_model_folder
from raclap.processes import join_processes
from raclap.provenance import weights_digests

UNREADABLE_LIST = "unreadable.jsonl"


@dataclass(frozen=True)
class IndexReport:
    """What one run did.

    Attributes:
        embedded: recordings that were read and embedded.
        carried_over: recordings that had only been moved, touched or described.
        kept: recordings that were in the index as they are.
        dropped: recordings that are not in the source any more.
        unreadable: recordings, and manifest rows, that cannot be used.
        windows: that were embedded.
        silent: windows that were left out.
        audio_seconds: of the windows that were embedded; where they overlap, more than the recordings last.
        seconds: that it took.
    """

    embedded: int = 0
    carried_over: int = 0
    kept: int = 0
    dropped: int = 0
    unreadable: int = 0
    windows: int = 0
    silent: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0

    def summary(self, index: Path | str) -> str:
        """What was done, in one or two lines."""
        done = (
            f"{index}: {self.embedded:,} recordings embedded ({self.windows:,} windows, "
            f"{self.audio_seconds / 3600:,.2f} h of audio) in {self.seconds:,.0f} s, "
            f"{self.carried_over:,} carried over, {self.kept:,} kept, {self.dropped:,} dropped, "
            f"{self.silent:,} silent windows left out"
        )
        if not self.unreadable:
            return done
        return f"{done}\n{self.unreadable:,} cannot be used; {index}/{UNREADABLE_LIST} says why"


def index_archive(
    source: Path | str,
    index: Path | str,
    model_folder: Path | str,
    settings: IndexSettings = USUAL,
    audio_root: Path | None = None,
    progress: bool = True,
    dataset: DatasetOptions | None = None,
) -> IndexReport:
    """Makes an index of an archive, or brings it up to date: what was stopped goes on where it was.

    New recordings are added, changed ones renewed, and those that are not there any more dropped; what cannot be read
    is listed in `INDEX/unreadable.jsonl`. Recordings of other sources stay as they are.

    Args:
        source: a folder of recordings or a data set, such as `hf://datasets/NAME`, which are cut into windows, or a
            manifest, whose rows are windows as they are.
        index: a folder that is new, empty or an index; or an address of object storage.
        model_folder: exported model.
        settings: of windows.
        audio_root: where the audio of a manifest lies, if not where it says.
        progress: show a progress bar.
        dataset: which rows of a data set are meant; None: all.

    Raises:
        ArchiveError: there is no recording or data set, the index is of another model or other windows, is being
            written, or cannot be written.
        ManifestError, ModelFolderError: the manifest or the model is not as it should be.
    """
    began = time.perf_counter()
    state = join_processes()
    recordings = open_source(source, audio_root, dataset, progress and state.is_main_process)
    _check_apart(Path(source), index)
    if next(iter(recordings), None) is None:
        raise ArchiveError(recordings.nothing_found)
    model_folder = Path(model_folder)
    check_model_folder(model_folder)
    weights = weights_digests(model_folder)
    if facts_exist(index):
        _check_same(index, read_facts(index), model_folder, weights, settings)
    model, processor = load_model_folder(model_folder)
    _check_windows(settings, processor.feature_extractor.longest_seconds)
    rate = processor.feature_extractor.sampling_rate
    with state.main_process_first():
        if not facts_exist(index):
            ArchiveIndex.create(index, _facts(model_folder, weights, model, rate, settings))
        if state.is_main_process and recordings.added_fields:
            with (opened := ArchiveIndex.open(index)).writing():
                opened.add_columns(recordings.added_fields)
    with ArchiveIndex.open(index).writing() if state.is_main_process else nullcontext():
        run = _Run(recordings, index, model.to(state.device), processor, settings, state, progress)
        return replace(run.finish(), seconds=time.perf_counter() - began)


class _Run:
    """One indexing of one source, by all processes."""

    def __init__(
        self,
        source: Source,
        index: Path | str,
        model: RaClapModel,
        processor: RaClapProcessor,
        settings: IndexSettings,
        state: PartialState,
        progress: bool,
    ):
        self._source = source
        self._archive = ArchiveIndex.open(index)
        self._state = state
        former = ArchiveIndex.open(index)
        self._held = HeldRecordings(former, source.name, str(source.root), source.columns)
        self._plan = plan(source, self._held)
        self._writer = IndexWriter(self._archive, self._held, former, settings.commit_seconds)
        share = self._plan.waiting_bytes // state.num_processes
        self._bar = IndexingBar(share, progress and state.is_main_process)
        self._embedder = WindowEmbedder(model, processor, settings.commit_seconds, self._bar.embedded)
        rate = processor.feature_extractor.sampling_rate
        self._reader = RecordingReader(
            processor.feature_extractor,
            round(settings.window_seconds * rate),
            round(settings.hop * rate),
            self._held,
            self._plan.moved_from,
            self._plan.copied_from,
            VoiceDetector(rate) if settings.voice_activity else None,
        )

    def finish(self) -> IndexReport:
        """Embeds what is waiting, drops what is gone, and lists what cannot be read."""
        self._state.wait_for_everyone()  # until the index is locked, and all have seen what it held
        count, unreadable = Counter(), []
        ahead = bytes_ahead(self._state.device)
        with self._bar, reading_ahead(self._waiting(), self._reader, size_of, ahead) as items:
            for item in self._embedder(items):
                self._writer.add(item)
                self._bar.finished(item)
                count.update(_counted(item))
                unreadable += _unreadable(item)
        self._writer.commit()
        counts, unreadable = gather_object([count]), gather_object(unreadable)
        total = sum(counts, Counter())
        if self._state.is_main_process:
            self._tidy(total, unreadable)
        self._state.wait_for_everyone()
        return IndexReport(kept=self._plan.kept, dropped=len(self._plan.gone), unreadable=len(unreadable), **total)

    def _waiting(self) -> Iterator[Entry]:
        """What this process has to look at."""

        def is_wanted(entry: Entry) -> bool:
            return isinstance(entry, Unreadable) or not self._held.is_as_it_was(entry)

        return self._source.waiting(
            is_wanted, self._plan.waiting_parts, self._state.process_index, self._state.num_processes
        )

    def _tidy(self, total: Counter, unreadable: list[Unreadable]) -> None:
        """What is done once, when all processes have written."""
        archive = ArchiveIndex.open(self._archive.path)
        if self._plan.gone:
            archive.renew(self._plan.gone, None)
        if total or self._plan.gone:
            archive.compact()
            if approximate_is_due(archive):
                build_approximate(archive)
        _list_unreadable(archive.path, unreadable)
        if not archive.windows:
            raise ArchiveError(
                f"{self._source.root}: none of its {len(unreadable):,} recordings can be used; the first is "
                f"{unreadable[0].name}: {unreadable[0].reason}"
            )


def _list_unreadable(index: Path | str, unreadable: list[Unreadable]) -> None:
    lines = [json.dumps({"recording": item.name, "reason": item.reason}) for item in unreadable]
    try:
        write_file(index, UNREADABLE_LIST, "".join(f"{line}\n" for line in sorted(lines)))
    except OSError as error:
        raise ArchiveError(
            f"{index}/{UNREADABLE_LIST}: cannot be written ({error.strerror or error}); all else is in the index"
        ) from error


def _counted(item: Embedded) -> dict[str, float]:
    """What a recording adds to the report."""
    if isinstance(item, EmbeddedRecording):
        return {
            "embedded": 1,
            "windows": len(item.windows),
            "silent": item.read.silent,
            "audio_seconds": sum(window.end - window.start for window in item.windows),
        }
    return {"carried_over": 1} if isinstance(item, CarriedOver) else {}


def _unreadable(item: Embedded) -> list[Unreadable]:
    """What of a recording cannot be used."""
    if isinstance(item, Unreadable):
        return [item]
    if isinstance(item, EmbeddedRecording):
        return [Unreadable(item.read.recording.name, reason) for reason in item.read.problems]
    return []


def _facts(
    folder: Path, weights: dict[str, str], model: RaClapModel, rate: int, settings: IndexSettings
) -> IndexFacts:
    made_by = ModelFacts.of_config(str(folder.resolve()), weights, model.config, rate)
    return IndexFacts(made_by, settings.window_seconds, settings.hop, settings.voice_activity)


def _check_apart(source: Path, index: Path | str) -> None:
    """An index inside its archive would be looked through at each run, and copied with it.

    Raises:
        ArchiveError: one of the two lies in the other.
    """
    if is_address(index) or not source.is_dir():
        return
    recordings, folder = source.resolve(), Path(index).resolve()
    if folder.is_relative_to(recordings) or recordings.is_relative_to(folder):
        inner, outer = (index, source) if folder.is_relative_to(recordings) else (source, index)
        raise ArchiveError(f"{inner}: lies inside {outer}; an index and its archive lie apart")


def _check_same(
    index: Path | str, facts: IndexFacts, folder: Path, weights: dict[str, str], settings: IndexSettings
) -> None:
    """Vectors of two models, or of other windows, cannot be told from one another.

    Raises:
        ArchiveError: the index was made by something else.
    """
    if dict(facts.model.weights) != weights:
        raise ArchiveError(
            f"{index}: was made by another model ({facts.model.name}) than {folder}; name that model, or a new folder"
        )
    made = (facts.window_seconds, facts.hop_seconds, facts.voice_activity)
    if made != (settings.window_seconds, settings.hop, settings.voice_activity):
        voice = " --voice-activity" if facts.voice_activity else ""
        raise ArchiveError(
            f"{index}: was made with --window {facts.window_seconds:g} --hop {facts.hop_seconds:g}{voice}; say the "
            f"same, or name a new folder"
        )


def _check_windows(settings: IndexSettings, longest_seconds: float | None) -> None:
    """Raises an `ArchiveError` where the tower cannot read such windows, or they do not follow each other."""
    window, hop = settings.window_seconds, settings.hop
    longest = min(LONGEST_SECONDS, longest_seconds or LONGEST_SECONDS)
    if not SHORTEST_SECONDS <= window <= longest:
        raise ArchiveError(f"--window {window:g}: expected {SHORTEST_SECONDS:g} to {longest:g} seconds")
    if not SHORTEST_SECONDS <= hop <= window:
        raise ArchiveError(f"--hop {hop:g}: expected {SHORTEST_SECONDS:g} seconds to --window {window:g}")
