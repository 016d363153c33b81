"""Rows of the tables that corpora are released with: CSV, TSV, JSON, JSON lines or Parquet, read one by one.

A row knows its file and number, so that whatever is wrong with it can be said where it is.
"""

import ast
import csv
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from raclap.corpora.json_tables import read_json, read_json_lines
from raclap.corpora.utf8 import ENCODING, lines_of
from raclap.errors import ManifestError, RecipeError

Value = TypeVar("Value")

# What released tables write where there is nothing to say.
NULLS = frozenset({"", "nan", "none", "null", "n/a"})

_DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a vertical bar"}
# A caption is a sentence; the module's own limit of 128 KiB a field is met by lists of phonemes.
csv.field_size_limit(16 * 1024 * 1024)


class Row:
    """One row of a table.

    Args:
        file: the table.
        place: which row, in the user's words: `row 3` or `key 'abc'`.
        values: by the names of the table's own columns.
        columns: names of the table's columns by the names that the reader knows them by, where they differ.
        nulls: texts that stand for nothing, in lower case.
    """

    __slots__ = ("_columns", "_nulls", "_values", "file", "place")

    def __init__(
        self,
        file: Path,
        place: str,
        values: Mapping[str, Any],
        columns: Mapping[str, str] | None = None,
        nulls: frozenset[str] = NULLS,
    ):
        self.file = file
        self.place = place
        self._values = values
        self._columns = columns or {}
        self._nulls = nulls

    @property
    def where(self) -> str:
        """File name and place, for the list of what was left out."""
        return f"{self.file.name}, {self.place}"

    @property
    def columns(self) -> KeysView[str]:
        """The table's own names of this row's columns."""
        return self._values.keys()

    def raw(self, column: str) -> Any:
        """The value as it stands in the table; None where the row has none.

        Raises:
            ManifestError: the table has no such column.
        """
        name = self._columns.get(column, column)
        if name not in self._values:
            raise self.error(f"no column '{name}'; the columns are {', '.join(map(str, self._values))}")
        return self._values[name]

    def has(self, column: str) -> bool:
        """Whether the table has a column."""
        return self._columns.get(column, column) in self._values

    def get(self, column: str) -> str | None:
        """The text of a column without surrounding blanks; None where it says nothing, or there is no such column.

        Raises:
            ManifestError: it holds a list, an object or bytes.
        """
        value = self._values.get(self._columns.get(column, column))
        if value is None:
            return None
        if not isinstance(value, str):
            if isinstance(value, (list, tuple, Mapping, bytes)):
                raise self.error(f"column '{self._name(column)}' holds {type(value).__name__}; expected a text")
            value = str(value)
        text = value.strip()
        return None if text.lower() in self._nulls else text

    def __getitem__(self, column: str) -> str:
        """The text of a column that must say something.

        Raises:
            ManifestError: there is no such column, or it is empty here.
        """
        text = self.get(column)
        if text is None:
            self.raw(column)
            raise self.error(f"column '{self._name(column)}' is empty")
        return text

    def number(self, column: str) -> float | None:
        """The number in a column; None where it says nothing.

        Raises:
            ManifestError: what it says is no finite number.
        """
        text = self.get(column)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise self.error(f"column '{self._name(column)}' is '{text}'; expected a number")
        return value

    def code(self, column: str, known: Mapping[str, Value]) -> Value:
        """What a code stands for; upper and lower case are the same.

        Raises:
            ManifestError: it is empty or not a known one; the message lists those.
        """
        text = self[column]
        for code in (text, text.lower(), text.upper()):
            if code in known:
                return known[code]
        raise self.error(f"column '{self._name(column)}' is '{text}'; expected one of {', '.join(known)}")

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of texts without empty ones; a null is an empty list.

        Raises:
            ManifestError: the column holds neither a list nor null.
        """
        value = self.raw(column) if self.has(column) else None
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            raise self.error(f"column '{self._name(column)}' is {value!r}; expected a list of texts")
        return _texts(value)

    def one_or_more(self, column: str) -> tuple[str, ...]:
        """The texts of a column that holds a text or a list of them, also a list written out as in `["a", "b"]`.

        Raises:
            ManifestError: the column holds neither.
        """
        value = self._values.get(self._columns.get(column, column))
        if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
            value = _written_list(value)
        if isinstance(value, (list, tuple)):
            return _texts(value)
        text = self.get(column)
        return () if text is None else (text,)

    def audio(self, column: str, remaps: Mapping[str, str] | None = None, suffix: str = "") -> str:
        """A path below the audio root, prefixes replaced as the user says.

        Args:
            column: that holds it.
            remaps: replacements of leading folders, tried in order; the first that fits is made.
            suffix: added where the table leaves it out.

        Raises:
            ManifestError: it is empty, absolute, or climbs out of the root.
        """
        path = below_root(self[column], remaps)
        if path is None:
            raise self.error(f"column '{self._name(column)}' is '{self[column]}', which leaves the audio root")
        return path + suffix

    def error(self, what: str) -> ManifestError:
        """The error that names file and row."""
        return ManifestError(f"{self.file}: {self.place}: {what}")

    def _name(self, column: str) -> str:
        return self._columns.get(column, column)


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(text.strip() for text in map(str, (item for item in values if item is not None)) if text.strip())


def _written_list(text: str) -> list[str] | str:
    """The list that JSON or Python writes so; the text itself where it is none, as in "[laughs] yes [coughs]"."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
    return text


def below_root(path: str, remaps: Mapping[str, str] | None = None) -> str | None:
    """A path from a table as a path below the audio root, with forward slashes; None if it leaves the root.

    Args:
        path: as the table has it.
        remaps: replacements of leading folders, tried in order; the first that fits is made.

    Example:
        >>> below_root("libritts/84/a.wav", {"libritts": "LibriTTS/train"})
        'LibriTTS/train/84/a.wav'
        >>> below_root("../a.wav") is None
        True
    """
    path = path.replace("\\", "/") if "\\" in path else path
    for old, new in (remaps or {}).items():
        if f"{path}/".startswith(f"{old.rstrip('/')}/"):
            path = f"{new}/{path[len(old.rstrip('/')) :].lstrip('/')}" if new else path[len(old) :].lstrip("/")
            break
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or path.startswith("/") or ".." in parts or parts[0].endswith(":") or "\0" in path:
        return None
    return "/".join(parts)


def read_table(
    path: Path,
    required: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    *,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    nulls: frozenset[str] = NULLS,
) -> Iterator[Row]:
    """Reads a table row by row; its kind is told by the suffix (.csv, .tsv, .txt, .jsonl, .json, .parquet).

    A .json file holds a list of objects, or one object of objects, whose keys are then the column `key`.

    Args:
        path: of the table.
        required: columns that it must have, by the names that the reader uses.
        columns: names of the table's columns by those names, where they differ.
        names: of the columns, where the file has no header.
        delimiter: between columns of a text table, `tab` or one character; None: a tab for .tsv, else a comma.
        nulls: texts that stand for nothing, in lower case.

    Yields:
        Rows in order. Nothing is held in memory but what is being read.

    Raises:
        ManifestError: the table is missing, empty, not of its kind or not in UTF-8, has another delimiter or lacks a
            column, or a row has more or fewer fields than the header; while the rows are read.
        RecipeError: `delimiter` is not one character.
    """
    path = Path(path)
    if path.is_dir():
        raise ManifestError(f"{path}: a folder; expected a table")
    if not path.is_file():
        raise ManifestError(f"{path}: no such table")
    kinds: dict[str, Callable[[Path], Iterator[tuple[str, Mapping[str, Any]]]]] = {
        ".jsonl": read_json_lines,
        ".json": read_json,
        ".parquet": _parquet,
    }
    read = kinds.get(path.suffix.lower(), partial(_delimited, names=names, delimiter=_character(path, delimiter)))
    wanted = [(columns or {}).get(name, name) for name in required]
    empty = True
    for place, values in read(path):
        if empty:
            _require(path, wanted, list(values))
            empty = False
        yield Row(path, place, values, columns, nulls)
    if empty:
        raise ManifestError(f"{path}: no rows")


def _require(path: Path, wanted: Iterable[str], found: Sequence[str]) -> None:
    for name in wanted:
        if name in found:
            continue
        close = difflib.get_close_matches(name, found, 1)
        hint = f"; --columns says which column is meant, as in {name}={close[0] if close else 'THEIRS'}"
        raise ManifestError(f"{path}: no column '{name}'; the columns are {', '.join(map(str, found))}{hint}")


def _character(path: Path, delimiter: str | None) -> str:
    if delimiter is None:
        return "\t" if path.suffix.lower() == ".tsv" else ","
    character = "\t" if delimiter in ("tab", "\\t") else delimiter
    if len(character) != 1:
        raise RecipeError(f"delimiter: '{delimiter}'; expected tab or one character")
    return character


def _delimited(path: Path, names: Sequence[str] | None, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(encoding=ENCODING, newline="") as file:
        rows = csv.reader(lines_of(path, file), delimiter=delimiter, strict=True)
        try:
            header = list(names) if names is not None else [name.strip() for name in next(rows, [])]
            if len(header) == 1 and names is None:
                _refuse_other_delimiter(path, header[0], delimiter)
            _refuse_twice(path, header)
            for number, row in enumerate(rows, start=1):
                if not row:
                    continue
                if len(row) != len(header):
                    raise ManifestError(
                        f"{path}: row {number} (line {rows.line_num}): {len(row)} fields; expected {len(header)} "
                        f"({', '.join(header)}), separated by {_DELIMITERS.get(delimiter, repr(delimiter))}"
                    )
                yield f"row {number}", dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise ManifestError(f"{path}: line {rows.line_num}: {error}") from error


def _refuse_twice(path: Path, header: Sequence[str]) -> None:
    double = [name for name in header if header.count(name) > 1]
    if double:
        raise ManifestError(f"{path}: column '{double[0]}' is there twice")


def _refuse_other_delimiter(path: Path, header: str, delimiter: str) -> None:
    for other, name in _DELIMITERS.items():
        if other != delimiter and other in header:
            raise ManifestError(
                f"{path}: its columns are separated by {name}; expected {_DELIMITERS.get(delimiter, repr(delimiter))}"
            )


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        file = pq.ParquetFile(path)
        _refuse_twice(path, file.schema_arrow.names)
        for batch in file.iter_batches(4096):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{path}: after row {number}: not a readable Parquet file ({error})") from error
