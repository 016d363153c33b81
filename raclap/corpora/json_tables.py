"""Tables in JSON: one object a line, or a list or an object of objects, of which one is held at a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from raclap.corpora.utf8 import ENCODING, lines_of, not_utf8
from raclap.errors import ManifestError

_BLOCK = 2**16  # characters
_LONGEST = 2**26  # characters of an entry; without a limit a missing bracket would bring the whole file to memory
_BLANKS = re.compile(r"[ \t\r\n]*")


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the columns of each line.

    Raises:
        ManifestError: the file is not UTF-8, or a line is no object.
    """
    with path.open(encoding=ENCODING) as file:
        for number, line in enumerate(lines_of(path, file), start=1):
            if not line.strip():
                continue
            try:
                yield f"row {number}", read_object(line)
            except ValueError as error:
                raise ManifestError(f"{path}: row {number}: {error}") from error


def read_object(text: str) -> dict[str, Any]:
    """The columns that one object holds.

    Raises:
        ValueError: it is no JSON, or no object.
    """
    try:
        value = _DECODER.decode(text)
        _refuse_half_characters(value, text, 0, len(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__}; expected an object of columns")
    return value


def read_json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the columns of each entry of a list, or of an object, whose keys are then the column `key`.

    Raises:
        ManifestError: the file is not UTF-8 or not JSON, or an entry is no object.
    """
    place = "the beginning"
    with path.open(encoding=ENCODING) as file:
        entries = _entries(_Stream(file))
        while True:
            try:
                entry = next(entries, None)
            except UnicodeDecodeError as error:
                raise not_utf8(path) from error
            except (ValueError, RecursionError) as error:
                raise ManifestError(f"{path}: after {place}: not JSON ({error})") from error
            if entry is None:
                return
            place, key, value = entry
            if not isinstance(value, dict):
                raise ManifestError(
                    f"{path}: {place}: {type(value).__name__}; expected an object of columns (a table of one object a "
                    "line has the suffix .jsonl)"
                )
            yield place, value if key is None else {"key": key, **value}


def _entries(text: "_Stream") -> Iterator[tuple[str, str | None, Any]]:
    """Place, key (None in a list) and value of each entry."""
    if text.peek() not in ("", "[", "{"):
        raise ValueError("neither a list of objects nor an object of objects")
    if not text.peek():
        return
    opening = text.take("[{")
    closing = "]" if opening == "[" else "}"
    number = 0
    last = text.peek() == closing
    while not last:
        number += 1
        key = str(text.value()) if opening == "{" else None
        if opening == "{":
            text.take(":")
        yield f"row {number}" if key is None else f"key '{key}'", key, text.value()
        last = text.take("," + closing) == closing
    text.take(closing if not number else "")


class _Stream:
    """A JSON text, of which no more is held than the value that is being read."""

    def __init__(self, file: TextIO):
        self._file = file
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def take(self, expected: str) -> str:
        """Goes past the next character, which must be one of these; none expected: the text must end."""
        found = self.peek()
        if found not in tuple(expected or [""]):
            raise ValueError(f"{found or 'the end'} instead of {' or '.join(expected) or 'the end'}")
        self._at += len(found)
        return found

    def value(self) -> Any:
        """The value that begins here."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                # What ends with the block may be the beginning of a number.
                complete = end < len(self._text)
            except json.JSONDecodeError:
                if len(self._text) - self._at > _LONGEST or not self._read_on():
                    raise
                continue
            if complete or not self._read_on():
                _refuse_half_characters(value, self._text, self._at, end)
                self._at = end
                return value

    def _read_on(self) -> bool:
        """Lets go of what was read and takes up as much again, or a block; returns whether there was more."""
        rest = self._text[self._at :]
        block = self._file.read(max(_BLOCK, len(rest)))
        self._text, self._at = rest + block, 0
        return bool(block)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _refuse_half_characters(value: Any, text: str, start: int, end: int) -> None:
    """Refuses half of a pair of surrogates, which JSON can write and UTF-8 cannot."""
    if text.find("\\ud", start, end) >= 0 or text.find("\\uD", start, end) >= 0:
        json.dumps(value, ensure_ascii=False).encode()
