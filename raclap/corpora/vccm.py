"""VccmDataset (ControlSpeech): clips of LibriTTS and acted emotion, captions that say nothing of who speaks.

`controlspeech_train.csv`, `controlspeech_test.csv`, ...: item_name, dur, pitch, energy, gender, emotion, spk, txt,
style_prompt. `dur` is the tempo: low is slow. `emotion` is `nan` or `None` for LibriTTS.

An `item_name` is the name of an utterance of LibriTTS, or the path of a recording without suffix, `/` written as `-`:
`RAVDESS-Actor_01-03-01-04-01-01-01-01`, `CREMA-D-AudioWAV-1060_IWL_FEA_XX`. Since folders and files have hyphens of
their own, it is followed from folder to folder, through those that are there; each is listed once. It may start in the
audio root or in a folder right below it, such as `emotion_dataset`.

The tables `controlspeech_test_prompt.csv` and so on (`..._prompt`) hold clips whose voice is to be imitated: what
their captions say of pitch is the column `dur`, what they say of speed is `pitch`. They are not read unless named.
`controlspeech_test_undomain_timbre.csv` has voices, `controlspeech_test_new_undomain_style.csv` wordings that training
does not know; rows of the latter are rows of the test with another caption. Test voices are training voices, so that
validation is taken from the training speakers.

Source: Ji et al. (2024), ControlSpeech.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from raclap.corpora.libritts import LibriTTS, speaker_of
from raclap.corpora.listing import Entry, audio_folder, parse_rows, split_of_speaker, tables_of_splits
from raclap.corpora.tables import Row, below_root, read_table
from raclap.corpora.vocabulary import EMOTIONS, PITCHES, SEXES, SPEEDS, VOLUMES, style_key
from raclap.data.manifest import Caption, Pair

_TABLES = {"train": "train", "test": "test"}
_COLUMNS = ("item_name", "dur", "pitch", "energy", "gender", "emotion", "spk", "txt", "style_prompt")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    splits: Mapping[str, str] = {},
    validation_share: float = 0.03,
    licence: str | None = None,
) -> Iterator[Entry]:
    """Reads the tables.

    Args:
        root: the folder of the tables, or the one that has them in `VccmDataset`.
        skip_bad: leave bad rows out instead of stopping at the first.
        audio_root: a folder with LibriTTS and the corpora of emotion below it; None: the root.
        columns: names in the tables by the names above.
        splits: for each split what its tables are called after `controlspeech_`, separated by commas.
        validation_share: of the training speakers, where no table is named for validation.
        licence: of the recordings.

    Raises:
        ManifestError: a table or a row is not as released.
        RecipeError: there is no such split.
    """
    root = Path(root)
    folder = root / "VccmDataset" if (root / "VccmDataset").is_dir() else root
    recordings = Recordings(audio_folder(root, audio_root))
    share = 0.0 if splits.get("validation") else validation_share
    for split, name in tables_of_splits(_TABLES, splits):
        rows = read_table(folder / f"controlspeech_{name}.csv", _COLUMNS, columns)
        yield from parse_rows(rows, partial(_parse, recordings, split, share, licence), skip_bad)


class Recordings:
    """Finds recordings by their item names; a folder is listed once, when a name leads there.

    Args:
        root: the audio root.
    """

    def __init__(self, root: Path):
        self._root = Path(root)
        self._libritts = LibriTTS(root)
        self._inside: dict[str, tuple[list[str], set[str]]] = {}

    def audio(self, item_name: str) -> str:
        """The path below the root; one at which nothing lies where there is no such recording.

        Raises:
            ManifestError: the name is one of LibriTTS, which is not there or there twice.
        """
        if speaker_of(item_name):
            return self._libritts.audio(item_name)
        folders, _ = self._list("")
        found = (self._follow(start, item_name) for start in ("", *(f"{folder}/" for folder in folders)))
        return next(filter(None, found), f"{item_name}.wav")

    def _follow(self, folder: str, rest: str) -> str | None:
        """Follows what is left of a name from a folder (with a slash at its end) downwards."""
        folders, files = self._list(folder)
        if rest in files:
            return f"{folder}{rest}.wav"
        below = (
            self._follow(f"{folder}{inner}/", rest[len(inner) + 1 :])
            for inner in folders
            if rest.startswith(f"{inner}-")
        )
        return next(filter(None, below), None)

    def _list(self, folder: str) -> tuple[list[str], set[str]]:
        """Names of the folders in a folder, and of its files without suffix."""
        if folder not in self._inside:
            path = self._root / folder
            folders: list[str] = []
            files: set[str] = set()
            for entry in sorted(path.iterdir()) if path.is_dir() else ():
                if entry.is_dir():
                    folders.append(entry.name)
                else:
                    files.add(entry.stem)
            self._inside[folder] = folders, files
        return self._inside[folder]


def _parse(recordings: Recordings, split: str, validation_share: float, licence: str | None, row: Row) -> Pair:
    item, speaker = row["item_name"], _speaker(row["spk"])
    audio = recordings.audio(item)
    if below_root(audio) is None:
        raise row.error(f"column 'item_name' is '{item}', which leaves the audio root")
    attributes = {
        "sex": row.code("gender", SEXES),
        "pitch": row.code("pitch", PITCHES),
        "speed": row.code("dur", SPEEDS),
        "volume": row.code("energy", VOLUMES),
    }
    if row.get("emotion"):
        attributes["emotion"] = row.code("emotion", EMOTIONS)
    return Pair(
        pair_id=f"vccm_{item}",
        audio=audio,
        captions=(Caption(row["style_prompt"]),),
        corpus="vccm",
        split=split_of_speaker(speaker, validation_share) if split == "train" else split,
        transcript=row.get("txt"),
        speaker=speaker,
        sex=attributes["sex"],
        language="en",
        emotion=attributes.get("emotion"),
        attributes=attributes,
        style_key=style_key(attributes),
        licence=licence,
    )


def _speaker(code: str) -> str:
    """A number is a speaker of LibriTTS; else the corpus stands before the last hyphen: CREMA-D-1060."""
    corpus, _, speaker = code.rpartition("-")
    return f"{corpus.lower().replace('-', '_') or 'libritts'}_{speaker}"
