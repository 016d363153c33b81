"""Retrieval metrics through an index, beside those of the embeddings themselves: what the store costs.

The clips of a corpus are put into an index, or found there by `pair_id`, and every caption is searched for in it:
exactly, where only the half precision of the stored vectors can change anything, and by the approximate search. The
other direction, clips that ask for captions, takes the stored vectors as they are.

Shapes: N pairs, D joint size, q queries of a tile, k places of a result list.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.archive.changes import HeldRecordings
from raclap.archive.embedding import EmbeddedRecording
from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts, facts_exist
from raclap.archive.manifest_source import ManifestSource
from raclap.archive.nearest import Nearest, build_approximate
from raclap.archive.reading import ReadRecording, Window
from raclap.archive.recipe import USUAL
from raclap.archive.sources import SourceRecording, Stretch, Unreadable
from raclap.archive.store import ArchiveIndex
from raclap.archive.writing import IndexWriter
from raclap.data.inspection import Inspection
from raclap.processes import join_processes
from raclap.provenance import sha256_of
from raclap.retrieval.embed import PairEmbeddings, embed_pairs
from raclap.retrieval.evaluation import Evaluation, evaluate
from raclap.retrieval.metrics import RetrievalScores, rank_found, rank_pairs
from raclap.retrieval.ordinality import order_labels
from raclap.retrieval.relevance import StyleRelevance

_AT_ONCE = 2**22  # pairs of a query and a window that one exact search ranks
_LISTED = 10  # places of an approximate search; no metric but the median rank looks further
_SAME = 0.999  # cosine from which a stored vector is that of the clip: half precision and padding cost less
_NOT_THERE = -1


@dataclass(frozen=True)
class IndexOptions:
    """Which index to evaluate through, and how.

    Attributes:
        folder: where the indexes lie, or are to be made, each as MODEL/CORPUS.
        model_folder: exported model, as its index is to name it.
        weights: SHA-256 of each of its weights files.
        approximate: evaluate the approximate search too.
    """

    folder: Path
    model_folder: Path
    weights: Mapping[str, str]
    approximate: bool = False


def evaluate_through_index(
    model: RaClapModel,
    processor: RaClapProcessor,
    corpus: Inspection,
    model_name: str,
    corpus_name: str,
    options: IndexOptions,
    **settings: Any,
) -> list[Evaluation]:
    """Evaluates the embeddings of a corpus, and once more through an index of them.

    Args:
        model, processor, corpus, model_name, corpus_name: see `evaluate`.
        options: which index.
        **settings: the other arguments of `evaluate`.

    Returns:
        The plain evaluation; on the main process also those named `MODEL, index` and `MODEL, IVF-RQ`.

    Raises:
        ArchiveError: the index is of another model or cannot be written, or a recording is gone.
        ManifestError, OrderError: see `evaluate`.
    """
    if settings.get("order_rows"):
        order_labels(corpus.manifest)  # what is wrong with them is found before anything is embedded
    embeds = embed_pairs(model, processor, corpus)
    plain = evaluate(model, processor, corpus, model_name, corpus_name, embeds=embeds, **settings)
    if not join_processes().is_main_process:
        return [plain]
    rate = processor.feature_extractor.sampling_rate
    made_by = ModelFacts.of_config(str(options.model_folder), options.weights, model.config, rate)
    path = options.folder / _part(model_name) / _part(corpus_name)
    index, rows = _indexed(corpus, embeds.audio, made_by, path)
    stored = PairEmbeddings(torch.from_numpy(index.vectors_of(rows).astype(np.float32)), embeds.text)
    relevance = StyleRelevance.from_manifest(corpus.manifest)
    audio_to_text = rank_pairs(F.normalize(stored.audio, dim=-1), stored.text, relevance).audio_to_text
    ways = {"index": _exact_scores(index, rows, stored.text)}
    if options.approximate:
        ways["IVF-RQ"] = _approximate_scores(index, rows, stored.text)
    return [plain] + [
        replace(
            plain,
            model=f"{model_name}, {way}",
            scores=RetrievalScores(audio_to_text, rank_found(scores_of, relevance, "text_to_audio")),
            order=None,
        )
        for way, scores_of in ways.items()
    ]


def _exact_scores(index: ArchiveIndex, rows: np.ndarray, texts: Tensor) -> Callable[[Tensor], Tensor]:
    """What gives the scores (q, N) of the clips for captions (q,), as the exact search of the index finds them.

    Args:
        index: holds the clips.
        rows: (N,) positions of them.
        texts: (N, D).
    """
    nearest, places = Nearest(index), _places(index, rows)
    among = None if len(rows) == index.windows else np.sort(rows)
    at_once = max(1, _AT_ONCE // len(rows))

    def scores_of(queries: Tensor) -> Tensor:
        parts = [nearest.search(texts[part].numpy(), len(rows), among, exact=True) for part in queries.split(at_once)]
        return torch.cat([_scattered(scores, places[found], len(rows)) for scores, found in parts])

    return scores_of


def _approximate_scores(index: ArchiveIndex, rows: np.ndarray, texts: Tensor) -> Callable[[Tensor], Tensor]:
    """As `_exact_scores`, by the approximate search: -inf where it finds nothing."""
    built = index.facts.approximate
    if built is None or built.rows != index.windows:
        with index.writing():
            build_approximate(index)
    places = _places(index, rows)
    scores, found = Nearest(index, exact_up_to=0).search(texts.numpy(), _LISTED)

    def scores_of(queries: Tensor) -> Tensor:
        return _scattered(scores[queries], places[found[queries]], len(rows))

    return scores_of


def _places(index: ArchiveIndex, rows: np.ndarray) -> np.ndarray:
    """Which of the N clips each row of the index is; N for rows that are none of them."""
    places = np.full(index.windows, len(rows))
    places[rows] = np.arange(len(rows))
    return places


def _scattered(scores: np.ndarray, places: np.ndarray, N: int) -> Tensor:
    """Result lists (q, k) as scores (q, N), -inf for what is not listed."""
    found = torch.full((len(scores), N + 1), -torch.inf)  # the last column takes what is none of the clips
    return found.scatter_(1, torch.from_numpy(places), torch.from_numpy(scores))[:, :N]


def _indexed(corpus: Inspection, audio: Tensor, made_by: ModelFacts, path: Path) -> tuple[ArchiveIndex, np.ndarray]:
    """The index of a corpus, and the positions (N,) of its clips; what is missing or out of date is put in first."""
    if not facts_exist(path):
        # Rows of a manifest are windows as they are.
        ArchiveIndex.create(path, IndexFacts(made_by, USUAL.window_seconds, USUAL.hop))
    index = ArchiveIndex.open(path)
    if dict(index.facts.model.weights) != dict(made_by.weights):
        raise ArchiveError(
            f"{path}: was made by another model ({index.facts.model.name}) than {made_by.name}; name another folder"
        )
    rows = _rows_of(index, corpus, audio)
    if (rows == _NOT_THERE).any():
        with index.writing():
            _put(index, corpus, audio, rows)
        index = ArchiveIndex.open(path)
        rows = _rows_of(index, corpus, audio)
        if (rows == _NOT_THERE).any():
            raise ArchiveError(f"{path}: holds clips of the same names from elsewhere; name a new folder")
    return index, rows


def _rows_of(index: ArchiveIndex, corpus: Inspection, audio: Tensor) -> np.ndarray:
    """(N,) positions of the clips in the index, `_NOT_THERE` for those that it lacks or has another vector of."""
    known = index.rows(np.arange(index.windows), ["pair_id"])["pair_id"].to_pylist()
    row_of = {pair_id: row for row, pair_id in enumerate(known)}
    rows = np.array([row_of.get(pair_id, _NOT_THERE) for pair_id in corpus.manifest.column("pair_id")])
    there = np.flatnonzero(rows != _NOT_THERE)
    vectors = torch.from_numpy(index.vectors_of(rows[there]).astype(np.float32))
    alike = F.cosine_similarity(vectors, audio[there], dim=-1).numpy() >= _SAME
    rows[there[~alike]] = _NOT_THERE
    return rows


def _put(index: ArchiveIndex, corpus: Inspection, audio: Tensor, rows: np.ndarray) -> None:
    """Puts in the recordings of which clips are missing, with all of their clips in this corpus."""
    row_of = {pair_id: row for row, pair_id in enumerate(corpus.manifest.column("pair_id"))}
    source = ManifestSource(corpus.manifest)
    writer = IndexWriter(index, HeldRecordings(index, source.name, str(source.root)), index, seconds=math.inf)
    for entry in source:
        if isinstance(entry, Unreadable):
            raise ArchiveError(f"{corpus.manifest.path}: {entry.name}: {entry.reason}")
        clips = [row_of[stretch.facts[0]] for stretch in entry.stretches]
        if (rows[clips] == _NOT_THERE).any():
            windows = [_window(entry, *clip) for clip in zip(entry.stretches, corpus.seconds[clips], strict=True)]
            read = ReadRecording(entry, sha256_of(entry.path), len(windows), silent=0)
            writer.add(EmbeddedRecording(read, windows, audio[clips].numpy().astype(np.float16)))
    writer.commit()


def _window(recording: SourceRecording, stretch: Stretch, seconds: float) -> Window:
    start = stretch.start or 0.0
    end = start + np.nan_to_num(seconds).item() if stretch.end is None else stretch.end
    return Window(recording.name, start, end, stretch.facts, size=recording.size)


def _part(name: str) -> str:
    """A name as part of a path."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
