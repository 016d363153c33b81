"""What is searched for: words, a clip, and what it is to have more or less of, as one vector of the joint space.

    q = unit(b + w (more_1 + more_2 + … − less_1 − less_2 − …)),   b = unit(text + like)

Every term is a unit vector: of the words as the text tower reads them, or of the clip as the speech tower hears it;
what is not given is left out of the sum. w is how much a word of `more` or `less` weighs against what is asked for; 1
is that of Mikolov et al., "Linguistic Regularities in Continuous Space Word Representations", 2013. More than that
changes more, and keeps less of the clip.

A file of queries is one a line (.txt), or a table (.csv, .tsv, .json, .jsonl, .parquet) with the columns `text` and
`like` (a clip, its path from the table's folder), of which a row needs one, and where there are such `id`, `more` and
`less` (a text, or a list of them).

Shapes: D joint size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raclap.corpora.tables import Row, read_table
from raclap.errors import RaClapError

WEIGHT = 1.0
MOST_CHARACTERS = 1_000
_COLUMNS = ("id", "text", "like", "more", "less")
_LINES = ".txt"
_LEAST_LENGTH = 1e-3  # of a sum of unit vectors, that still points anywhere


class QueryError(RaClapError):
    """A query cannot be searched for."""


@dataclass(frozen=True)
class Query:
    """One query; it has a text, a clip, or both.

    Attributes:
        text: how the wanted speech sounds.
        like: a clip that sounds as wanted.
        more, less: what it is to have more and less of.
        id: what the user calls it.
    """

    text: str | None = None
    like: Path | str | None = None
    more: tuple[str, ...] = ()
    less: tuple[str, ...] = ()
    id: str | None = None

    @property
    def name(self) -> str:
        """The query in words, for people."""
        parts = [
            *([] if self.text is None else [self.text]),
            *([] if self.like is None else [f"like {Path(self.like).name}"]),
            *(f"more {word}" for word in self.more),
            *(f"less {word}" for word in self.less),
        ]
        return ", ".join(parts)

    @property
    def is_caption(self) -> bool:
        """Whether it is words alone, which a calibration speaks of."""
        return self.like is None and not self.more and not self.less

    @property
    def words(self) -> tuple[str, ...]:
        """All texts of the query, to be embedded."""
        return (*(() if self.text is None else (self.text,)), *self.more, *self.less)

    def to_json(self) -> dict[str, Any]:
        """What was asked, without what was not."""
        values = {
            "id": self.id,
            "text": self.text,
            "like": None if self.like is None else str(self.like),
            "more": list(self.more),
            "less": list(self.less),
        }
        return {name: value for name, value in values.items() if value}


def check_query(query: Query, place: str = "the query") -> None:
    """Refuses what no tower should read.

    Args:
        query: as it was given.
        place: what the message calls it.

    Raises:
        QueryError: it has neither a text nor a clip, or a text is empty or longer than `MOST_CHARACTERS`.
    """
    if query.text is None and query.like is None:
        raise QueryError(f"{place} has neither words nor a clip; say how the wanted speech sounds, or name a clip")
    for word in query.words:
        if not word.strip():
            raise QueryError(f"{place} is empty; say how the wanted speech sounds")
        if len(word) > MOST_CHARACTERS:
            raise QueryError(f"{place} has {len(word):,} characters; expected at most {MOST_CHARACTERS:,}")


def read_queries(file: Path) -> list[Query]:
    """Reads a file of queries, in order.

    Raises:
        QueryError: it is missing, not UTF-8 or has no query, or a query is not as it should be; the message names its
            line or row.
        ManifestError: it is a table that cannot be read, or a clip's path leaves its folder.
    """
    if file.suffix.lower() == _LINES:
        placed = _of_lines(file)
    else:
        placed = [(f"{row.file}: {row.place}", _of_row(row)) for row in read_table(file)]
    for place, query in placed:
        check_query(query, place)
    ids = [query.id for _, query in placed if query.id is not None]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise QueryError(f"{file}: two queries have the id '{twice}'")
    return [query for _, query in placed]


def combine(
    query: Query, words: Mapping[str, np.ndarray], clips: Mapping[str, np.ndarray], weight: float = WEIGHT
) -> np.ndarray:
    """The vector of a query, by the formula above.

    Args:
        query: what is asked.
        words: (D,) unit vectors of its texts.
        clips: (D,) unit vector of its clip, by path.
        weight: w.

    Returns:
        (D,) float32, a unit vector.

    Raises:
        QueryError: the terms cancel out, or are not finite.

    Example:
        >>> words = {"a man": np.array([1.0, 0.0]), "calm": np.array([0.0, 1.0])}
        >>> combine(Query("a man", more=("calm",)), words, {}, weight=0.75).round(2).tolist()
        [0.800000011920929, 0.6000000238418579]
    """
    base = [words[query.text]] if query.text is not None else []
    base += [clips[str(query.like)]] if query.like is not None else []
    found = _unit(np.sum(base, axis=0, dtype=np.float64), query)
    for sign, terms in ((1, query.more), (-1, query.less)):
        for term in terms:
            found = found + sign * weight * words[term]
    return _unit(found, query).astype(np.float32)


def _unit(vector: np.ndarray, query: Query) -> np.ndarray:
    length = np.linalg.norm(vector)
    if not np.isfinite(length):
        raise QueryError("an embedding of the query is not finite: the weights of the model are damaged")
    if length < _LEAST_LENGTH:
        raise QueryError(f"the query '{query.name}' takes away all that it asks for; nothing is left to search for")
    return vector / length


def _of_lines(file: Path) -> list[tuple[str, Query]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise QueryError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise QueryError(f"{file}: not UTF-8 text; expected a query a line") from error
    queries = [(f"{file}: line {place}", Query(line.strip())) for place, line in enumerate(lines, 1) if line.strip()]
    if not queries:
        raise QueryError(f"{file}: no query; expected one a line")
    return queries


def _of_row(row: Row) -> Query:
    unknown = sorted(set(row.columns) - set(_COLUMNS))
    if unknown:
        raise QueryError(f"{row.file}: unknown column '{unknown[0]}'; expected some of {', '.join(_COLUMNS)}")
    root = row.file.parent.resolve()
    like = root / row.audio("like", {str(root): ""}) if row.get("like") is not None else None
    if like is not None and not like.resolve().is_relative_to(root):
        raise row.error(f"column 'like' is '{row['like']}', which leaves the folder of the table")
    return Query(row.get("text"), like, row.one_or_more("more"), row.one_or_more("less"), row.get("id"))


def queries_of(
    texts: Iterable[str], like: Path | str | None = None, more: Sequence[str] = (), less: Sequence[str] = ()
) -> list[Query]:
    """A query a text, each with the same clip, more and less; without texts, one of the clip.

    Raises:
        QueryError: see `check_query`.
    """
    queries = [Query(text, like, tuple(more), tuple(less)) for text in texts]
    queries = queries or [Query(None, like, tuple(more), tuple(less))]
    for place, query in enumerate(queries, 1):
        check_query(query, "the query" if len(queries) == 1 else f"query {place}")
    return queries
