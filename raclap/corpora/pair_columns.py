"""Pairs from the rows of a user's table, whatever its columns are called."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from raclap.corpora import vocabulary
from raclap.corpora.column_names import ColumnNames
from raclap.corpora.listing import corpus_name
from raclap.corpora.splits import Splits, split_of_path
from raclap.corpora.tables import Row
from raclap.data.manifest import Caption, Pair

AnyRow = TypeVar("AnyRow", bound=Row)

_WORDS: dict[str, Mapping[str, str]] = {
    "sex": vocabulary.SEXES,
    "emotion": vocabulary.EMOTIONS,
    "pitch": vocabulary.PITCHES,
    "speed": vocabulary.SPEEDS,
    "volume": vocabulary.VOLUMES,
}
# A field or attribute, how it is read from a column of a row, and the column.
_Reading = tuple[str, Callable[[Row, str], Any], str]


class PairOptions(TypedDict, total=False):
    """What can be said of any table of a user; see `PairColumns`."""

    columns: dict[str, str]
    caption_columns: tuple[str, ...]
    attributes: tuple[str, ...]
    name: str
    split: str
    splits: dict[str, str]
    validation_share: float
    test_share: float
    language: str
    licence: str


class PairColumns:
    """Makes pairs of rows.

    Values of sex, emotion, pitch, speed and volume are put into the words of `vocabulary` where it knows them, and
    stay as they are where it does not.

    Args:
        source: the table or folder, for messages.
        without: fields that need no column, since the reader has them from elsewhere.
        remaps: see `Row.audio`.
        columns, caption_columns, attributes: see `ColumnNames`.
        name: of the corpus, where no column says it; the source's name where none is given.
        split, splits, validation_share, test_share: see `Splits`.
        language, licence: of rows that do not say it.

    Raises:
        RecipeError: there is no such field or split, or two things are said of one.
    """

    def __init__(
        self,
        source: Path,
        without: Collection[str] = (),
        *,
        remaps: Mapping[str, str] = {},
        columns: Mapping[str, str] = {},
        caption_columns: tuple[str, ...] = (),
        attributes: tuple[str, ...] = (),
        name: str = "",
        split: str = "",
        splits: Mapping[str, str] = {},
        validation_share: float = 0.0,
        test_share: float = 0.0,
        language: str = "",
        licence: str = "",
    ):
        self._names = ColumnNames(source, without, columns, caption_columns, attributes)
        self._splits = Splits(split, splits, validation_share, test_share)
        self._defaults = {
            "corpus": name or corpus_name(source),
            "language": language or None,
            "licence": licence or None,
        }
        self._remaps = remaps
        self._fields: list[_Reading] = []
        self._attributes: list[_Reading] = []

    def pair(self, row: Row, audio: str | None = None, folder: str = "", split: str | None = None) -> Pair:
        """The pair of a row whose columns are settled.

        Args:
            row: of the table.
            audio: path below the audio root; None reads it from its column.
            folder: below the audio root, with a slash at its end, which the paths of that column start from.
            split: what the row's file says of it.

        Raises:
            ManifestError: a column holds what it cannot hold.
        """
        if audio is None:
            audio = folder + row.audio(self._names.fields["audio"], self._remaps)
        fields = {field: read(row, column) for field, read, column in self._fields}
        attributes = {
            name: value for name, read, column in self._attributes if (value := read(row, column)) is not None
        }
        for field, value in self._defaults.items():
            fields[field] = fields.get(field) or value
        fields["style_key"] = fields.get("style_key") or vocabulary.style_key(attributes)
        fields["pair_id"] = fields.get("pair_id") or _pair_id(audio, fields.get("start"), fields.get("end"))
        return Pair(
            audio=audio,
            captions=self._captions(row),
            split=self._split(row, audio, fields.get("speaker"), split),
            attributes=attributes,
            **fields,
        )

    def split_named(self, theirs: str) -> str | None:
        """The manifest's name of a split of the data; None where it is not known."""
        return self._splits.ours(theirs)

    @property
    def audio_column(self) -> str:
        """The column that holds recordings or their paths."""
        return self._names.fields["audio"]

    def settle(self, row: AnyRow) -> AnyRow:
        """Settles which column is which, where a row has new ones, and hands the row on.

        It is the table that is wrong where this fails, and no row alone: rows go through this before they are parsed.

        Raises:
            ManifestError: a column is missing, or several may be meant.
        """
        if self._names.settle(row):
            others = [item for item in self._names.fields.items() if item[0] not in ("audio", "captions", "split")]
            self._fields = [(field, _READINGS.get(field, Row.get), column) for field, column in others]
            self._attributes = [
                (name, _READINGS.get(name, Row.get), column) for name, column in self._names.attributes.items()
            ]
        return row

    def _captions(self, row: Row) -> tuple[Caption, ...]:
        columns = self._names.captions
        captions = tuple([Caption(text) for column in columns for text in row.one_or_more(column)])
        if columns and not captions:
            raise row.error(f"column '{columns[0]}' is empty; expected a caption")
        return captions

    def _split(self, row: Row, audio: str, speaker: str | None, of_file: str | None) -> str:
        own = self._splits.of_all or self._own_split(row, audio, of_file)
        split = self._splits.settle(own, speaker or audio)
        if split is None:
            raise row.error(
                "nothing says which split it belongs to; --columns split=THEIRS names a column, --split train puts "
                "all rows into one, --validation-share 0.1 --test-share 0.1 divide them by speaker"
            )
        return split

    def _own_split(self, row: Row, audio: str, of_file: str | None) -> str | None:
        """What the row, its file or its folder say, in the manifest's words; None where they say nothing."""
        column = self._names.fields.get("split")
        if column is None:
            own = of_file or split_of_path(audio.rpartition("/")[0])
            if own is not None:
                self._names.say("splits are those that folders, files or splits of the data set are named after")
            return own
        own = self._splits.ours(row[column])
        if own is None:
            known = ", ".join(self._splits.names)
            raise row.error(f"column '{column}' is '{row[column]}'; expected {known}, or what --splits says")
        return own


def _in_our_words(words: Mapping[str, str], row: Row, column: str) -> str | None:
    text = row.get(column)
    return None if text is None else words.get(text.lower(), text)


_READINGS: dict[str, Callable[[Row, str], Any]] = {
    **{name: partial(_in_our_words, words) for name, words in _WORDS.items()},
    **dict.fromkeys(("start", "end", "valence", "arousal", "dominance"), Row.number),
    "tags": Row.one_or_more,
}


def _pair_id(audio: str, start: float | None, end: float | None) -> str:
    stretch = "" if start is None and end is None else f"#{start or 0.0}-{'' if end is None else end}"
    return audio + stretch
