"""Filters: one condition in SQL on the columns of an index, and what is said of anything else."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from raclap.archive.columns import ROW_COLUMNS
from raclap.archive.facts import ArchiveError
from raclap.archive.failures import reason

_EXAMPLE = "sex = 'female' and duration > 3"
_NEAR = 0.5  # likeness of a column that may be meant
_SHOWN = 80  # characters of a filter in a message
_LONGEST = 1_000  # characters besides texts and lists: LanceDB's parser takes the program with it when it runs deep
_STATEMENT = r"\s*(select|insert|update|delete|drop|create|alter|with|where|set)\s"


def quoted(text: str) -> str:
    """A text as SQL writes it.

    Example:
        >>> quoted("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def in_parentheses(expression: str) -> str:
    """A condition as it is given to LanceDB, which forgives, and forgets, what stands after one; here nothing can.

    Args:
        expression: a condition, such as `sex = 'female' and duration > 3`.

    Raises:
        ArchiveError: it is more or less than one condition.
    """
    bare = re.sub(r"'(?:[^']|'')*'", "", expression)
    if len(re.sub(r"\([\s\d.,]*\)", "()", bare)) > _LONGEST:
        raise ArchiveError(
            f"{_named(expression)}: is longer than {_LONGEST:,} characters, texts and lists not counted"
        )
    depth, least = 0, 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        least = min(least, depth)
    more = any(sign in bare for sign in (";", "--", "/*", "'"))
    if not bare.strip() or more or depth or least or re.match(_STATEMENT, bare, re.IGNORECASE):
        raise ArchiveError(f"{_named(expression)}: is no single condition, as {_EXAMPLE} is one")
    return f"({expression})"


def refused(expression: str, message: str, columns: Sequence[str] = ROW_COLUMNS) -> ArchiveError:
    """What LanceDB found wrong with a filter, in a sentence of ours.

    Args:
        expression: the filter.
        message: LanceDB's.
        columns: of the index.
    """
    unknown = re.search(r"No field named (.+?)\. Valid", message)
    if not unknown:
        return ArchiveError(f"{_named(expression)}: is no filter, as {_EXAMPLE} is one ({reason(message)})")
    name = unknown.group(1).strip('"`')
    near = get_close_matches(name.lower(), columns, n=1, cutoff=_NEAR)
    meant = f"did you mean '{near[0]}'? The columns" if near else "they"
    known = ", ".join(columns)
    return ArchiveError(f"{_named(expression)}: there is no column '{_short(name)}'; {meant} are {known}")


def _named(expression: str) -> str:
    return f'--where "{_short(expression)}"'


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
