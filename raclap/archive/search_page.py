"""Answers as one page that needs no other file and no network: players, bars, and what is known of every moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tqdm import tqdm

from raclap.archive.answers import Answer, clock, notes_of
from raclap.archive.clips import excerpt_of
from raclap.archive.moments import Moment
from raclap.data.excerpt import Excerpt
from raclap.errors import AudioError

MOST_PLAYERS = 100
MOST_BYTES = 8_000_000
LONGEST_SECONDS = 20.0
_HERE = Path(__file__).parent
_Place = tuple[int, int]  # of a moment: its answer, and where it stands there, from 0


@dataclass(frozen=True)
class PageSound:
    """Excerpts in a page, by place of their moment: its answer, and where it stands there, both from 0.

    Attributes:
        excerpts: what can be heard.
        missing: why a moment's sound cannot be read.
    """

    excerpts: Mapping[_Place, Excerpt]
    missing: Mapping[_Place, str]


def collect_sound(
    answers: Sequence[Answer], rate: int, players: int = MOST_PLAYERS, most_bytes: int = MOST_BYTES
) -> PageSound:
    """Reads excerpts of moments, the best of every query first, as long as there is room.

    Args:
        answers: that the page shows.
        rate: Hz.
        players: at most so many.
        most_bytes: of all of them together, as base64.
    """
    places = sorted(
        ((number, rank) for number, answer in enumerate(answers) for rank in range(len(answer.moments))),
        key=lambda place: (place[1], place[0]),
    )
    excerpts: dict[_Place, Excerpt] = {}
    missing: dict[_Place, str] = {}
    size = 0
    for number, rank in tqdm(places, desc="taking moments into the page", unit="moment"):
        if len(excerpts) == players:
            break
        try:
            excerpt = excerpt_of(answers[number].moments[rank], rate, LONGEST_SECONDS)
        except AudioError as error:
            missing[number, rank] = str(error)
            continue
        size += len(excerpt.data)
        if size > most_bytes:
            break
        excerpts[number, rank] = excerpt
    return PageSound(excerpts, missing)


def render_search_page(answers: Sequence[Answer], sound: PageSound, facts: Mapping[str, str]) -> str:
    """Writes the page; every text of queries, recordings and manifests is escaped.

    Args:
        answers: to show.
        sound: excerpts of their moments.
        facts: of the search, a line each.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "decimals": _decimals, "share": _share, "notes": notes_of}
    return environment.get_template("search_page.html.j2").render(
        answers=answers,
        sound=sound,
        longest=LONGEST_SECONDS,
        facts=facts,
        stylesheet=(_HERE / "search_page.css").read_text(encoding="utf-8"),
    )


def _share(moment: Moment) -> float:
    """Length of a moment's bar in percent: its probability, or its cosine where there is none."""
    return 100 * min(1.0, max(0.0, moment.score if moment.probability is None else moment.probability))


def _decimals(value: float, decimals: int) -> str:
    """A number with a proper minus."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")
