"""PromptSpeech: 26,588 utterances of LibriTTS, each with a sentence on sex, pitch, speed and volume.

`Real_training.csv`: item_name, spk_id, gender, pitch, speaking_speed, energy, style_prompt. Volume is called energy;
there is no emotion and no split. A public split without common speakers (StyleCap, Yamauchi et al., 2024) is a table
`file_id, relative_path_within_libritts` for each of train, dev and test.

The synthetic part has no known layout. Its table can be read with names of columns; where its recordings are not those
of LibriTTS, one of them must be named as `audio`. Columns `emotion` and `content_prompt` are read where they exist.

Source: Guo et al. (2023), PromptTTS.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from raclap.corpora.libritts import LICENCE, LibriTTS, speaker_of
from raclap.corpora.listing import Entry, audio_folder, parse_rows, split_of_speaker
from raclap.corpora.tables import Row, read_table
from raclap.corpora.vocabulary import EMOTIONS, PITCHES, SEXES, SPEEDS, VOLUMES, style_key
from raclap.data.manifest import SPLITS, Caption, Pair
from raclap.errors import RecipeError

_TABLE = "Real_training.csv"
_COLUMNS = ("item_name", "spk_id", "gender", "pitch", "speaking_speed", "energy", "style_prompt")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    remaps: Mapping[str, str] = {},
    split_lists: Mapping[str, str] = {},
    validation_share: float = 0.03,
    test_share: float = 0.03,
) -> Iterator[Entry]:
    """Reads the table; recordings are found by the names of the utterances.

    Args:
        root: the folder of `Real_training.csv`, or a table.
        skip_bad: leave bad rows out instead of stopping at the first.
        audio_root: a folder with LibriTTS below it; None: the root.
        columns: names in the table by the names above.
        remaps: replacements of leading folders in the column `audio`.
        split_lists: for each split the table that lists its utterances; what no list has is left out.
        validation_share, test_share: of the speakers, where there are no lists.

    Raises:
        ManifestError: a table or a row is not as released.
        RecipeError: a list is for no split.
    """
    root = Path(root)
    libritts = LibriTTS(audio_folder(root, audio_root))
    listed = _read_lists(split_lists)

    def parse(row: Row) -> Pair | str:
        name = row["item_name"]
        speaker = speaker_of(name) or f"promptspeech_{row['spk_id']}"
        split = listed.get(name) if split_lists else split_of_speaker(speaker, validation_share, test_share)
        if split is None:
            return "in none of the split lists"
        attributes = _attributes(row)
        return Pair(
            pair_id=f"promptspeech_{name}",
            audio=row.audio("audio", remaps) if row.has("audio") else libritts.audio_of(row, "item_name"),
            captions=(Caption(row["style_prompt"]),),
            corpus="promptspeech",
            split=split,
            transcript=row.get("content_prompt"),
            speaker=speaker,
            sex=attributes["sex"],
            language="en",
            emotion=attributes.get("emotion"),
            attributes=attributes,
            style_key=style_key(attributes),
            licence=None if row.has("audio") else LICENCE,
        )

    table = root / _TABLE if root.is_dir() else root
    yield from parse_rows(read_table(table, _COLUMNS, columns), parse, skip_bad)


def _attributes(row: Row) -> dict[str, str]:
    attributes = {
        "sex": row.code("gender", SEXES),
        "pitch": row.code("pitch", PITCHES),
        "speed": row.code("speaking_speed", SPEEDS),
        "volume": row.code("energy", VOLUMES),
    }
    return {**attributes, "emotion": row.code("emotion", EMOTIONS)} if row.get("emotion") else attributes


def _read_lists(split_lists: Mapping[str, str]) -> dict[str, str]:
    """The split of each utterance."""
    listed: dict[str, str] = {}
    for split, path in split_lists.items():
        if split not in SPLITS:
            raise RecipeError(f"split_lists: '{split}'; expected one of {', '.join(SPLITS)}")
        for row in read_table(Path(path), ("file_id",)):
            if listed.setdefault(row["file_id"], split) != split:
                raise row.error(f"'{row['file_id']}' is in the list for {listed[row['file_id']]}, too")
    return listed
