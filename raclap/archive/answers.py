"""Answers for people and programs: a table in the terminal, JSON, or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raclap.archive.moments import Moment
from raclap.archive.queries import Query
from raclap.archive.sources import FACT_COLUMNS

_COLUMNS = (
    "query_id", "query", "rank", "recording", "start", "end", "score", "probability", "percentile", "is_there",
    "windows", "duplicates", "root", "dataset_row",
)  # fmt: skip
# A spreadsheet takes a cell that begins so for a formula, and computes it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_WIDE = 160  # columns, where nobody says how wide the screen is
_NAMED = 2  # duplicates, in the table


@dataclass(frozen=True)
class Answer:
    """A query and what was found.

    Attributes:
        query: that was asked.
        moments: best first.
        clips: files that were written of them, by place in `moments`.
    """

    query: Query
    moments: tuple[Moment, ...]
    clips: dict[int, Path]

    def to_json(self) -> dict[str, Any]:
        """`{query: {...}, moments: [{rank, recording, start, end, ...}]}`."""
        return {"query": self.query.to_json(), "moments": [self._moment(place) for place in range(len(self.moments))]}

    def _moment(self, place: int) -> dict[str, Any]:
        moment = self.moments[place]
        clip = {"clip": str(self.clips[place])} if place in self.clips else {}
        return {"rank": place + 1, **moment.to_json(), "is_there": moment.is_there, **clip}


def as_json(answers: Sequence[Answer]) -> str:
    """A list of answers, as indented JSON."""
    return json.dumps([answer.to_json() for answer in answers], indent=2, ensure_ascii=False)


def as_csv(answers: Sequence[Answer]) -> str:
    """A row a moment (RFC 4180); a text that a spreadsheet would compute begins with an apostrophe."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    said = dict.fromkeys(name for answer in answers for moment in answer.moments for name in moment.facts)
    facts = list(dict.fromkeys((*FACT_COLUMNS, *said)))
    writer.writerow([*_COLUMNS, *facts])
    for answer in answers:
        for rank, moment in enumerate(answer.moments, 1):
            values = moment.to_json()
            known = {
                **values,
                "query_id": answer.query.id,
                "query": answer.query.name,
                "rank": rank,
                "is_there": str(moment.is_there).lower(),
                "duplicates": "; ".join(name for name, _, _ in moment.duplicates),
            }
            cells = [*(known.get(name) for name in _COLUMNS), *(moment.facts.get(name) for name in facts)]
            writer.writerow([_harmless(cell) for cell in cells])
    return stream.getvalue()


def print_table(answers: Sequence[Answer], console: Console | None = None) -> None:
    """Prints a table a query.

    Args:
        answers: to print.
        console: where to; None: standard output.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=_WIDE, highlight=False)
    for answer in answers:
        console.print(_title(answer))
        if answer.moments:
            console.print(_table(answer))


def clock(seconds: float) -> str:
    """A time in a recording.

    Example:
        >>> clock(3725.25), clock(59.96)
        ('1:02:05.2', '1:00.0')
    """
    tenths = round(10 * seconds)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest / 10:04.1f}"


def shown(text: str) -> str:
    """A text of others as a terminal may show it: what it would obey is replaced."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _title(answer: Answer) -> Text:
    found = f"{len(answer.moments)} moments" if answer.moments else "no moment found"
    name = "" if answer.query.id is None else f"{answer.query.id}: "
    return Text(shown(f"{name}{answer.query.name} ({found})"), style="bold")


def _table(answer: Answer) -> Table:
    has_probability = any(moment.probability is not None for moment in answer.moments)
    has_notes = any(moment.facts or moment.duplicates or not moment.is_there for moment in answer.moments)
    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("recording", overflow="fold")
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("end", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    if has_probability:
        table.add_column("fits", justify="right", no_wrap=True)
    if has_notes:
        table.add_column("notes", overflow="fold")
    for rank, moment in enumerate(answer.moments, 1):
        row = [str(rank), shown(moment.recording), clock(moment.start), clock(moment.end), f"{moment.score:.3f}"]
        if has_probability:
            row.append("" if moment.probability is None else f"{100 * moment.probability:.0f} %")
        if has_notes:
            row.append(shown(", ".join(notes_of(moment))))
        table.add_row(*map(Text, row))
    return table


def notes_of(moment: Moment) -> list[str]:
    """What else is known of a moment: who speaks and how, its copies, and whether its recording is gone."""
    notes = [] if moment.is_there else ["no longer there"]
    names = ("speaker", "sex", "age", "emotion", "language")
    notes += [str(moment.facts[name]) for name in names if name in moment.facts]
    if moment.duplicates:
        names = [name for name, _, _ in moment.duplicates]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        notes.append(f"also {', '.join(names[:_NAMED])}{more}")
    return notes


def _harmless(cell: Any) -> Any:
    if cell is None:
        return ""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
