"""LibriTTS-P: all of LibriTTS-R in five levels of pitch, speed and volume, with two dozen sentences for each style.

`metadata_w_style_prompt_tags_v230922.csv` has a row an utterance: item_name, spk_id, gender, pitch, speaking_speed,
energy, content_prompt, style_prompt_key, eight measurements, invalid. `style_prompt_candidates_v230922.csv` has a line
a style, `key|caption;caption;...`, and no header. Keys such as `M_p-low_s-slow_e-low` know three levels, the columns
five ("very low"); the key is the style key, the attributes have the five. Utterances that are marked invalid are left
out, as are the speakers of `excluded_spk_list.txt`, whose recordings are of two sexes.

Sentences are taken as released, but for those that only differ in upper and lower case from one before. Some are
wrong: "a man with a high-pitched voice" stands under `M_p-low_s-slow_e-low`. The descriptions of speakers
(`df1_en.csv` and two more) are not read.

Source: Kawamura et al. (2024); audio is LibriTTS-R.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from raclap.corpora.libritts import LICENCE, LibriTTS, speaker_of
from raclap.corpora.listing import Entry, audio_folder, parse_rows, split_of_speaker
from raclap.corpora.tables import Row, read_table
from raclap.corpora.vocabulary import PITCHES, SEXES, SPEEDS, VOLUMES
from raclap.data.manifest import Caption, Pair

_METADATA = "metadata_w_style_prompt_tags_v230922.csv"
_CANDIDATES = "style_prompt_candidates_v230922.csv"
_EXCLUDED = "excluded_spk_list.txt"
_COLUMNS = (
    "item_name", "spk_id", "gender", "pitch", "speaking_speed", "energy", "content_prompt", "style_prompt_key",
    "invalid",
)  # fmt: skip
_FLAGS = {"0": False, "1": True}
# What the list of the release says, for a folder that lacks it.
_RELEASED_EXCLUDED = frozenset({"2074", "4455", "6032", "3546", "2262", "8097", "1734", "3793", "8295"})


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    validation_share: float = 0.03,
    test_share: float = 0.03,
) -> Iterator[Entry]:
    """Reads the tables; recordings are found by the names of the utterances.

    Args:
        root: the folder of the tables, or the one that has them in `data`.
        skip_bad: leave bad rows out instead of stopping at the first.
        audio_root: a folder with LibriTTS-R below it; None: the root.
        columns: names in the metadata by the names above.
        validation_share, test_share: of the speakers; the corpus has no splits.

    Raises:
        ManifestError: a table or a row is not as released.
    """
    root = Path(root)
    folder = root / "data" if (root / "data").is_dir() else root
    libritts = LibriTTS(audio_folder(root, audio_root))
    captions, excluded = _read_captions(folder / _CANDIDATES), _read_excluded(folder / _EXCLUDED)

    def parse(row: Row) -> Pair | str:
        if row.code("invalid", _FLAGS):
            return "marked invalid"
        if row["spk_id"] in excluded:
            return "the speaker is to be excluded"
        name, key = row["item_name"], row["style_prompt_key"]
        if key not in captions:
            raise row.error(f"column 'style_prompt_key' is '{key}', which {_CANDIDATES} does not have")
        attributes = {
            "sex": row.code("gender", SEXES),
            "pitch": row.code("pitch", PITCHES),
            "speed": row.code("speaking_speed", SPEEDS),
            "volume": row.code("energy", VOLUMES),
        }
        audio, speaker = libritts.audio_of(row, "item_name"), speaker_of(name)
        return Pair(
            pair_id=f"libritts_p_{name}",
            audio=audio,
            captions=captions[key],
            corpus="libritts_p",
            split=split_of_speaker(speaker, validation_share, test_share),
            transcript=row.get("content_prompt"),
            speaker=speaker,
            sex=attributes["sex"],
            language="en",
            attributes=attributes,
            style_key=key,
            licence=LICENCE,
        )

    yield from parse_rows(read_table(folder / _METADATA, _COLUMNS, columns), parse, skip_bad)


def _read_captions(path: Path) -> dict[str, tuple[Caption, ...]]:
    captions: dict[str, tuple[Caption, ...]] = {}
    for row in read_table(path, names=("key", "captions"), delimiter="|"):
        texts: dict[str, str] = {}
        for text in filter(None, map(str.strip, row["captions"].split(";"))):
            texts.setdefault(text.casefold(), text)
        if row["key"] in captions:
            raise row.error(f"the key '{row['key']}' is there twice")
        if not texts:
            raise row.error(f"no caption for the key '{row['key']}'")
        captions[row["key"]] = tuple(map(Caption, texts.values()))
    return captions


def _read_excluded(path: Path) -> frozenset[str]:
    if not path.is_file():
        return _RELEASED_EXCLUDED
    return frozenset(row["spk_id"] for row in read_table(path, names=("spk_id",)))
