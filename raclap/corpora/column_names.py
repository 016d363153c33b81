"""Which column of a user's table is which field of a pair: as the user says, else as well-known names tell."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from raclap.corpora.tables import Row
from raclap.errors import RecipeError

# What tables of speech call a field, beside its own name. Nothing is here that may mean two things: `text` is the
# transcript in one table and the caption in the next, and `start_time` may be in samples.
WELL_KNOWN: dict[str, tuple[str, ...]] = {
    "audio": (
        "path", "file_name", "filename", "file", "file_path", "filepath", "audio_path", "audio_file", "audio_filepath",
        "relative_audio_path", "wav", "wav_path",
    ),
    "captions": (
        "caption", "text_description", "description", "descriptions", "style_prompt", "style_caption", "prompt", "txt",
    ),
    "pair_id": (),
    "corpus": (),
    "split": (),
    "start": (),
    "end": (),
    "transcript": ("transcription",),
    "speaker": ("speaker_id", "speakerid", "spk_id", "spk"),
    "sex": ("gender",),
    "age": (),
    "language": ("lang",),
    "emotion": (),
    "intensity": (),
    "valence": (),
    "arousal": (),
    "dominance": (),
    "tags": (),
    "style_key": (),
    "licence": ("license",),
}  # fmt: skip
_REQUIRED = ("audio", "captions")
# Names under which a user may speak of a field, beside its own.
_ALIASES = {"path": "audio", "caption": "captions"}


class ColumnNames:
    """The columns of fields, captions and attributes, settled as rows come.

    They are settled at the first row, and again where a row has a column that none had before, as in JSON lines that
    leave out what is empty. What was guessed, and what is not read, is printed.

    Args:
        source: the table or folder, for messages.
        without: fields that need no column, since the reader has them from elsewhere.
        columns: the table's names by the fields of `Pair`; `path` and `caption` stand for `audio` and `captions`.
        caption_columns: columns of captions, where there are several.
        attributes: columns that become style attributes, by the name of a field, of `columns` or of the table.

    Attributes:
        fields: the table's name of each field that it has.
        captions: the columns that hold captions.
        attributes: the table's name of each attribute.

    Raises:
        RecipeError: there is no such field, or two things are said of one.
    """

    def __init__(
        self,
        source: Path,
        without: Collection[str],
        columns: Mapping[str, str],
        caption_columns: Sequence[str],
        attributes: Sequence[str],
    ):
        self.fields: dict[str, str] = {}
        self.captions: tuple[str, ...] = ()
        self.attributes: dict[str, str] = {}
        self._source = source
        self._wanted = [field for field in WELL_KNOWN if field not in without]
        self._named = _named(columns, attributes)
        self._caption_columns = tuple(caption_columns)
        self._attribute_names = tuple(attributes)
        self._seen: dict[str, None] = {}
        self._settled = False
        self._said: set[str] = set()
        if caption_columns and "captions" in self._named:
            raise RecipeError("caption_columns and columns caption=THEIRS: expected one of them")
        for field in without:
            if field in self._named or (field == "captions" and caption_columns):
                raise RecipeError(f"columns: {source} has its {field} from elsewhere than a column")

    def settle(self, row: Row) -> bool:
        """Settles the names anew if a row asks for it; returns whether it did.

        Raises:
            ManifestError: a column is missing, or several may be meant.
        """
        if self._settled and row.columns <= self._seen.keys():
            return False
        self._seen |= dict.fromkeys(row.columns)
        taken = {*self._named.values(), *self._caption_columns}
        free = {column.casefold(): column for column in reversed(self._seen) if column not in taken}
        found = {field: self._find(row, field, free) for field in self._wanted}
        self.fields = {field: column for field, column in found.items() if column is not None}
        self.captions = self._caption_columns or tuple(c for f, c in self.fields.items() if f == "captions")
        self.attributes = {
            name: self._existing(row, self._named.get(name) or self.fields.get(name, name))
            for name in self._attribute_names
        }
        self._say_what_is_not_read()
        self._settled = True
        return True

    def say(self, what: str) -> None:
        """Prints a remark, once."""
        if what not in self._said:
            self._said.add(what)
            # Above the progress bar, not across it.
            tqdm.write(f"{self._source}: {what}")

    def _find(self, row: Row, field: str, free: Mapping[str, str]) -> str | None:
        if field == "captions" and self._caption_columns:
            for column in self._caption_columns:
                self._existing(row, column)
            return self._caption_columns[0]
        if field in self._named:
            return self._existing(row, self._named[field])
        if field in free:
            return free[field]
        guesses = [free[name] for name in WELL_KNOWN[field] if name in free]
        if len(guesses) == 1:
            self.say(f"column '{guesses[0]}' is taken for {field}")
            return guesses[0]
        if field not in _REQUIRED:
            return None
        problem = f"{' or '.join(guesses)} may be {field}" if guesses else f"no column is known to be {field}"
        raise row.error(f"{problem}; {self._all()}; --columns says which it is, as in {field}=THEIRS")

    def _existing(self, row: Row, column: str) -> str:
        if column not in self._seen:
            raise row.error(f"no column '{column}'; {self._all()}")
        return column

    def _all(self) -> str:
        return f"the columns are {', '.join(self._seen)}"

    def _say_what_is_not_read(self) -> None:
        read = {*self.fields.values(), *self.captions, *self.attributes.values()}
        if left := [column for column in self._seen if column not in read]:
            self.say(f"not read: {', '.join(left)} (--columns and --attributes say what they are)")


def _named(columns: Mapping[str, str], attributes: Sequence[str]) -> dict[str, str]:
    """The user's columns by field or attribute.

    Raises:
        RecipeError: there is no such field, or it is named twice.
    """
    named: dict[str, str] = {}
    for name, column in columns.items():
        field = _ALIASES.get(name, name)
        if field not in WELL_KNOWN and field not in attributes:
            raise RecipeError(f"columns: no field '{name}'; the fields are {', '.join(WELL_KNOWN)}, and --attributes")
        if named.setdefault(field, column) != column:
            raise RecipeError(f"columns: {field} is both '{named[field]}' and '{column}'")
    return named
