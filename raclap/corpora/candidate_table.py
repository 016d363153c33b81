"""Tables of candidates: which clips were made for which prompt, one a row, in any folder layout.

Columns: `prompt`, `candidate` (path of the clip), and where there are such, `reference` (path of a clip that sounds as
wanted) and `id`. Rows of one id are candidates for one choice; without ids, those of one prompt and reference are.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raclap.corpora.listing import AUDIO_SUFFIXES, LeftOut
from raclap.corpora.tables import Row, read_table
from raclap.errors import ManifestError, RecipeError

_REQUIRED = ("prompt", "candidate")
_OPTIONAL = ("reference", "id")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row: a clip that may be chosen for a prompt.

    Attributes:
        where: file name and row, for the list of what was left out.
        prompt: how the chosen clip is to sound.
        clip, reference: where they lie, below the root; no reference is None.
        id: of the choice; None where the table has no ids.
    """

    where: str
    prompt: str
    clip: Path
    reference: Path | None = None
    id: str | None = None


def find_recordings_below(folder: Path) -> list[Path]:
    """All recordings below a folder, in order of their paths; hidden files are passed over.

    Raises:
        ManifestError: there is none.
    """
    found = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not found:
        raise ManifestError(f"{folder}: no recording ({', '.join(AUDIO_SUFFIXES)}) below it")
    return found


def read_candidates(
    table: Path, audio_root: Path | None = None, columns: Mapping[str, str] | None = None, skip_bad: bool = False
) -> tuple[list[Candidate], list[LeftOut]]:
    """Reads a table of candidates; no recording is opened.

    Args:
        table: CSV, TSV, JSON, JSON lines or Parquet.
        audio_root: which folder paths start from; None: that of the table.
        columns: names of the table's columns by the names above, where they differ.
        skip_bad: leave a bad row out instead of stopping at it.

    Returns:
        Rows in order, and rows that were left out, with the reason.

    Raises:
        ManifestError: the table lacks a column or cannot be read; a prompt, candidate or id is empty, a path leaves
            the root, or rows of one id have different prompts or references; the message names file and row.
        RecipeError: `columns` renames what there is not.
    """
    columns = dict(columns or {})
    for name in columns:
        if name not in (*_REQUIRED, *_OPTIONAL):
            close = difflib.get_close_matches(name, (*_REQUIRED, *_OPTIONAL), 1)
            hint = f"; {close[0]}?" if close else ""
            raise RecipeError(f"columns: no '{name}'; expected {', '.join((*_REQUIRED, *_OPTIONAL))}{hint}")
    table = Path(table)
    root = Path(audio_root or table.parent).resolve()
    if not root.is_dir():
        raise RecipeError(f"audio_root: {root} is no folder")
    asked: dict[str, Candidate] = {}
    good, bad = [], []
    for row in read_table(table, (*_REQUIRED, *(name for name in _OPTIONAL if name in columns)), columns):
        try:
            candidate = _candidate(row, root)
            _check_same(row, candidate, asked)
        except ManifestError as error:
            if not skip_bad:
                raise
            bad.append(LeftOut(row.where, str(error).removeprefix(f"{row.file}: {row.place}: ")))
        else:
            good.append(candidate)
    return good, bad


def _candidate(row: Row, root: Path) -> Candidate:
    has_reference = row.has("reference") and row.get("reference") is not None
    return Candidate(
        row.where,
        row["prompt"],
        _path(row, "candidate", root),
        _path(row, "reference", root) if has_reference else None,
        row["id"] if row.has("id") else None,
    )


def _path(row: Row, column: str, root: Path) -> Path:
    """Where a clip lies; a link is followed, and must not lead out of the root either."""
    path = root / row.audio(column, {str(root): ""})
    if not path.resolve().is_relative_to(root):
        raise row.error(f"column '{column}' is '{row[column]}', which leaves the audio root")
    return path


def _check_same(row: Row, candidate: Candidate, asked: dict[str, Candidate]) -> None:
    """Rows of one id ask for the same."""
    if candidate.id is None:
        return
    first = asked.setdefault(candidate.id, candidate)
    for name in ("prompt", "reference"):
        if getattr(first, name) != getattr(candidate, name):
            raise row.error(
                f"id '{candidate.id}' has the {name} '{getattr(candidate, name)}', but '{getattr(first, name)}' in "
                f"{first.where}"
            )
