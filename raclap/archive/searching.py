"""Searching an index: queries become vectors, the nearest windows become moments.

    search = ArchiveSearch.open("speech.index")
    for moment in search.search("an old man mumbling, tired", k=5):
        print(moment.recording, moment.start, moment.end, moment.probability)

Windows are fetched nearest first, more and more of them, until as many moments as wanted are left after merging and
folding, or no window is.

Shapes: Q queries, D joint size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.archive.duplicates import Candidate, FoldedMoments
from raclap.archive.extents import ExtentFinder
from raclap.archive.facts import ArchiveError
from raclap.archive.moments import Moment
from raclap.archive.nearest import Nearest
from raclap.archive.opening import open_with_model
from raclap.archive.queries import WEIGHT, Query, QueryError, check_query, combine
from raclap.archive.ranking import PLACE, Hit, best_first
from raclap.archive.sources import FACT_COLUMNS
from raclap.archive.store import ArchiveIndex
from raclap.archive.tracks import Tracks
from raclap.retrieval.rerank import Reranker

_FETCHED, _A_MOMENT, _MORE = 64, 8, 4  # windows at least, windows a wanted moment, times as many when that is too few

_Nearest = tuple[np.ndarray, np.ndarray]  # scores and positions
_Fetch = Callable[[int], _Nearest]


@dataclass(frozen=True)
class SearchOptions:
    """What is wanted of the moments of every query.

    Attributes:
        k: how many, at most.
        where: a condition in SQL on the index's columns; None: all windows.
        min_probability: that the words fit, at least; None: whatever is nearest.
        merge: whether neighbouring windows become one moment; if not, every window is one.
        duplicates: cosine from which moments are folded; None: copies of one file alone.
        exact: whether an approximate search is forbidden.
        weight: w of the query's formula, see `raclap.archive.queries`.
    """

    k: int = 10
    where: str | None = None
    min_probability: float | None = None
    merge: bool = True
    duplicates: float | None = None
    exact: bool = False
    weight: float = WEIGHT

    def check(self) -> None:
        """Raises QueryError if a value is out of range."""
        if self.k < 1:
            raise QueryError(f"k: {self.k}; expected 1 or more")
        if self.min_probability is not None and not 0 <= self.min_probability <= 1:
            raise QueryError(f"min_probability: {self.min_probability}; expected a number from 0 to 1")
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise QueryError(f"weight: {self.weight}; expected a number above 0")
        FoldedMoments(self.duplicates)


class ArchiveSearch:
    """An open index and the model that made it.

    Args:
        index: open.
        model: on the device to use; put into eval mode.
        processor: the one it was trained with.

    Raises:
        ArchiveError: the model's vectors have another size than those of the index.
    """

    def __init__(self, index: ArchiveIndex, model: RaClapModel, processor: RaClapProcessor):
        if model.config.projection_dim != index.facts.model.projection_dim:
            raise ArchiveError(
                f"{index.path}: its vectors have {index.facts.model.projection_dim} dimensions, those of the model "
                f"{model.config.projection_dim}; search with the model that made it, {index.facts.model.name}"
            )
        self.index = index
        self._reranker = Reranker(model, processor)
        self._nearest = Nearest(index)
        self._tracks = Tracks(index)

    @classmethod
    def open(cls, path: str | Path, model_folder: Path | str | None = None) -> Self:
        """Opens an index and loads the model that made it.

        Args:
            path: of the index, or its address.
            model_folder: where that model lies; None: where it lay when the index was made.

        Raises:
            ArchiveError: there is no index, its model is no longer there, or the folder holds another model.
            ModelFolderError: the folder holds no model.
        """
        return cls(*open_with_model(path, model_folder))

    @property
    def has_probability(self) -> bool:
        """Whether the model is calibrated."""
        return self._reranker.calibration is not None

    def search(
        self,
        text: str | None = None,
        *,
        like: Path | str | None = None,
        more: Sequence[str] = (),
        less: Sequence[str] = (),
        **options: Any,
    ) -> list[Moment]:
        """Searches for one query.

        Args:
            text, like, more, less: see `raclap.archive.queries.Query`.
            options: see `SearchOptions`.

        Returns:
            Moments, best first.

        Raises:
            QueryError: the query or an option is not as it should be, or there is no probability to ask for.
            AudioError: the clip cannot be used.
            ArchiveError: `where` is no filter of this index.
        """
        (found,) = self.search_all([Query(text, like, tuple(more), tuple(less))], SearchOptions(**options))
        return found

    def search_all(self, queries: Sequence[Query], options: SearchOptions | None = None) -> list[list[Moment]]:
        """Searches for several queries at once.

        Returns:
            Moments of each, best first.

        Raises:
            QueryError, AudioError, ArchiveError: see `search`.
        """
        options = SearchOptions() if options is None else options
        options.check()
        for place, query in enumerate(queries, 1):
            check_query(query, "the query" if len(queries) == 1 else f"query {place}")
        self._check_probability(queries, options)
        among = self.index.where(options.where)
        vectors = self.vectors(queries, options.weight)
        available = self.index.windows if among is None else len(among)
        if not available or not len(queries):
            return [[] for _ in queries]
        fetched = min(available, max(_FETCHED, _A_MOMENT * options.k))
        scores, rows = self._nearest.search(vectors, fetched, among=among, exact=options.exact)
        found = []
        for place, (query, vector) in enumerate(zip(queries, vectors, strict=True)):

            def fetch(count: int, own: np.ndarray = vector) -> _Nearest:
                more_scores, more_rows = self._nearest.search(own[None], count, among=among, exact=options.exact)
                return more_scores[0], more_rows[0]

            hits = _hits(self.index, fetch, (scores[place], rows[place]), available)
            found.append(self._moments(query, vector, hits, among, options))
        return found

    def vectors(self, queries: Sequence[Query], weight: float = WEIGHT) -> np.ndarray:
        """Queries in the joint space: (Q, D) float32 unit vectors.

        Raises:
            QueryError: the terms of a query cancel out.
            AudioError: a clip cannot be used.
        """
        texts = list(dict.fromkeys(word for query in queries for word in query.words))
        words = dict(zip(texts, self._reranker.embed_texts(texts).numpy(), strict=True)) if texts else {}
        liked = [query.like for query in queries if query.like is not None]
        clips = self._reranker.embed_files(liked, progress=False)[0] if liked else {}
        heard = {path: vector.numpy() for path, vector in clips.items()}
        found = [combine(query, words, heard, weight) for query in queries]
        return np.stack(found) if found else np.zeros((0, self.index.facts.model.projection_dim), np.float32)

    def _check_probability(self, queries: Sequence[Query], options: SearchOptions) -> None:
        if options.min_probability is None:
            return
        if not self.has_probability:
            raise QueryError(
                "min_probability: the model is not calibrated, so there is no probability; raclap calibrate fits one"
            )
        other = next((query for query in queries if not query.is_caption), None)
        if other is not None:
            raise QueryError(
                f"min_probability: a probability is known of words alone, not of '{other.name}'; leave it out, or "
                f"search for words"
            )

    def _moments(
        self,
        query: Query,
        vector: np.ndarray,
        hits: Iterator[Hit],
        among: np.ndarray | None,
        options: SearchOptions,
    ) -> list[Moment]:
        folded = FoldedMoments(options.duplicates)
        finder = ExtentFinder(self._tracks, vector, among) if options.merge else None
        for row, found in best_first(hits, finder):
            moment = self._known(query, found)
            if options.min_probability is not None and moment.probability < options.min_probability:
                break
            direction = self._direction(row) if options.duplicates is not None else None
            if folded.fold(Candidate(moment, direction)):
                continue
            if len(folded) == options.k:
                break
            folded.add(Candidate(self._described(moment, row), direction))
        return folded.moments

    def _known(self, query: Query, moment: Moment) -> Moment:
        """The moment with what the calibration says of it."""
        calibration = self._reranker.calibration
        if calibration is None or not query.is_caption:
            return moment
        cosine = torch.tensor(moment.score, dtype=torch.float64)
        return replace(
            moment,
            probability=calibration.probability(cosine).item(),
            percentile=calibration.percentile(cosine).item(),
        )

    def _described(self, moment: Moment, row: int) -> Moment:
        """The moment with what is said of a window of it."""
        columns = [*FACT_COLUMNS, *self.index.added_columns, "dataset_row"]
        values = self.index.rows([row], columns).to_pylist()[0]
        address = values.pop("dataset_row")
        facts = {name: value for name, value in values.items() if value is not None}
        return replace(moment, facts=facts, dataset_row=address)

    def _direction(self, row: int) -> np.ndarray:
        vector = self.index.vectors_of([row])[0].astype(np.float32)
        return vector / np.linalg.norm(vector)


def _hits(index: ArchiveIndex, fetch: _Fetch, first: _Nearest, available: int) -> Iterator[Hit]:
    """Windows nearest first, fetched as far as they are asked for.

    Args:
        index: that they are of.
        fetch: gives so many of the nearest.
        first: those that were fetched already.
        available: windows that a filter holds for.

    Yields:
        Score, position and `PLACE` of each.
    """
    (scores, rows), given = first, 0
    while True:
        new = [place for place in range(given, len(rows)) if rows[place] >= 0]
        places = index.rows(rows[new], PLACE).to_pylist()
        for place, facts in zip(new, places, strict=True):
            yield float(scores[place]), int(rows[place]), facts
        if len(new) < len(rows) - given or len(rows) >= available:
            return
        given = len(rows)
        scores, rows = fetch(min(available, _MORE * given))
