"""The queries that go worst: those whose right answer lies farthest down, and what stands above it instead.

Shapes: N pairs of a corpus, D joint size.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch

from raclap.data.manifest import Pair
from raclap.report.measured_corpus import MeasuredCorpus
from raclap.retrieval.metrics import full_float32
from raclap.retrieval.relevance import Direction

FOUND = 3


@dataclass(frozen=True)
class NamedValue:
    """One thing that a caption says, and whether it holds for a clip.

    Attributes:
        name: of the attribute.
        wanted: value that the caption asks for.
        held: value of the clip; None where it is not known.
    """

    name: str
    wanted: str
    held: str | None

    @property
    def holds(self) -> bool:
        """Whether the clip is as the caption says."""
        return self.wanted == self.held


@dataclass(frozen=True)
class Match:
    """A clip beside a caption.

    Attributes:
        clip, caption: rows of the corpus; the same one for a pair.
        text: of the caption.
        cosine: of the two.
        values: what the caption says; empty where nobody says what it names.
    """

    clip: int
    caption: int
    text: str
    cosine: float
    values: tuple[NamedValue, ...]


@dataclass(frozen=True)
class Mistake:
    """A query, its right answer and what was found instead.

    Attributes:
        direction: which side asks.
        row: of the query.
        rank: of the right answer, from 1.
        style_rank: of the first answer that holds by style, from 1.
        right: the pair.
        found: what stands above the right answer, best first.
    """

    direction: Direction
    row: int
    rank: int
    style_rank: int
    right: Match
    found: tuple[Match, ...]


def worst_queries(corpus: MeasuredCorpus, direction: Direction, count: int, found: int = FOUND) -> list[Mistake]:
    """The queries of one direction with the largest rank of the right answer, worst first.

    Queries that are the same are shown once, and so are answers; a query whose right answer is first is no mistake.

    Args:
        corpus: measured.
        direction: which side asks.
        count: at most so many.
        found: answers to show of each.
    """
    scores = corpus.evaluation.scores[direction]
    captions = [texts[0] for texts in corpus.rows.manifest.caption_texts()]
    clips = [(own, start, end) for own, start, end in zip(
        *(corpus.rows.manifest.column(name) for name in ("audio", "start", "end")), strict=True)]  # fmt: skip
    queries, answers = (clips, captions) if direction == "audio_to_text" else (captions, clips)
    mistakes: list[Mistake] = []
    seen = set()
    for row in (-scores.instance_rank).argsort(kind="stable").tolist():
        if len(mistakes) == count or scores.instance_rank[row] == 1:
            break
        if queries[row] not in seen:
            seen.add(queries[row])
            above = _nearest(corpus, direction, row)[: scores.instance_rank[row]]
            places = list(_first_of_each(above, answers, answers[row], found))
            # Nothing else stands above a caption that only ties with others of the same words.
            mistakes += [_mistake(corpus, direction, row, places)] if places else []
    return mistakes


def _nearest(corpus: MeasuredCorpus, direction: Direction, row: int) -> list[int]:
    """Rows of the other side, most similar first."""
    asking, asked = corpus.embeds.audio, corpus.embeds.text
    if direction == "text_to_audio":
        asking, asked = asked, asking
    with full_float32():
        return (asked @ asking[row]).argsort(descending=True, stable=True).tolist()


def _first_of_each(rows: list[int], answers: Sequence[Hashable], right: Hashable, count: int) -> Iterator[int]:
    """Rows whose answers differ from the right one and from one another."""
    seen = {right}
    for row in rows:
        if len(seen) > count:
            return
        if answers[row] not in seen:
            seen.add(answers[row])
            yield row


def _mistake(corpus: MeasuredCorpus, direction: Direction, row: int, found: list[int]) -> Mistake:
    audio_asks = direction == "audio_to_text"
    scores = corpus.evaluation.scores[direction]
    return Mistake(
        direction=direction,
        row=row,
        rank=int(scores.instance_rank[row]),
        style_rank=int(scores.style_rank[row]),
        right=_match(corpus, row, row),
        found=tuple(_match(corpus, row, own) if audio_asks else _match(corpus, own, row) for own in found),
    )


def _match(corpus: MeasuredCorpus, clip: int, caption: int) -> Match:
    cosine = torch.dot(corpus.embeds.audio[clip].double(), corpus.embeds.text[caption].double()).item()
    heard, written = corpus.rows.manifest[clip], corpus.rows.manifest[caption]
    return Match(clip, caption, written.captions[0].text, cosine, tuple(_values(heard, written)))


def _values(heard: Pair, written: Pair) -> Iterator[NamedValue]:
    """What the first caption of a row says, held against the clip of another."""
    for name in written.captions[0].names or ():
        yield NamedValue(name, written.attributes[name], heard.attributes.get(name))
