from pathlib import Path

import pyarrow as pa
import pytest
from corpus_fixtures import Release
from corpus_fixtures import paraspeechcaps as fixture
from corpus_fixtures.paraspeechcaps import EARS, EMILIA, EXPRESSO, SCHEMA, VOXCELEB, write_shard

from raclap.corpora import paraspeechcaps
from raclap.corpora.listing import CorpusListing
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError, RecipeError


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return fixture.make(tmp_path)


def read(root: Path, *args, **options) -> CorpusListing:
    return CorpusListing.of(paraspeechcaps.read(root, *args, **options))


def one(tmp_path: Path, row: dict, schema: pa.Schema = SCHEMA, **options) -> Pair:
    """The pair of a file of one row."""
    path = write_shard(tmp_path / "train_base-00000-of-00001.parquet", [row], schema)
    (pair,) = paraspeechcaps.read(path, **options)
    return pair


def test_a_row_holds_what_the_file_says(tmp_path: Path):
    assert one(tmp_path, VOXCELEB) == Pair(
        pair_id="paraspeechcaps_voxceleb/voxceleb1/dev/wav/id10270/5r0dWxy17C8/00001_voicefixer",
        audio="voxceleb/voxceleb1/dev/wav/id10270/5r0dWxy17C8/00001_voicefixer.wav",
        captions=(Caption("A deep, loud male voice speaks at a measured pace."),),
        corpus="paraspeechcaps",
        split="train",
        transcript="and, well, that was it",
        speaker="voxceleb_id10270",
        sex="male",
        language="en",
        attributes={
            "sex": "male", "pitch": "low", "speed": "normal", "accent": "American accent",
            "noise": "clean environment",
        },
        tags=(
            "intrinsic:deep", "intrinsic:loud", "basic:male", "basic:low-pitched", "basic:measured speed",
            "basic:clean environment",
        ),
        style_key="basic:clean environment|basic:low-pitched|basic:male|basic:measured speed|intrinsic:deep|"
        "intrinsic:loud",
        licence="CC BY-NC-SA 4.0",
    )  # fmt: skip


def test_nulls_are_nothing_and_groups_of_tags_stay_apart(tmp_path: Path):
    pair = one(tmp_path, EXPRESSO)
    assert pair.tags == ("intrinsic:husky", "situational:whispered", "situational:loud")
    assert pair.attributes == {"sex": "female", "speed": "fast"}
    assert pair.captions == (Caption("She whispers."), Caption("She whispers in a husky voice."))
    bare = one(tmp_path, {**EMILIA, "situational_tags": [], "speakerid": None, "gender": None, "transcription": None})
    assert (bare.tags, bare.style_key, bare.speaker, bare.sex, bare.transcript) == ((), None, None, None, None)


def test_an_older_revision_names_the_path_otherwise(tmp_path: Path):
    older = pa.schema([field.with_name(field.name.replace("relative_", "")) for field in SCHEMA])
    row = {name.replace("relative_", ""): value for name, value in VOXCELEB.items()}
    assert one(tmp_path, row, older) == one(tmp_path, VOXCELEB)
    # A copy that was given whole paths has both.
    both = SCHEMA.append(pa.field("audio_path", pa.string()))
    assert one(tmp_path, {**VOXCELEB, "audio_path": "/data/voxceleb/x.wav"}, both) == one(tmp_path, VOXCELEB)


def test_splits_are_as_released_and_can_be_chosen(release: Release):
    def splits(**chosen: str) -> dict[str, int]:
        pairs = read(release.root, splits=chosen).pairs
        return {split: [pair.split for pair in pairs].count(split) for split in ("train", "validation", "test")}

    assert splits() == {"train": 4, "validation": 1, "test": 1}
    assert splits(train="train_base") == {"train": 2, "validation": 1, "test": 1}
    assert splits(train="train_base,holdout", test="train_scaled") == {"train": 3, "validation": 1, "test": 2}
    listing = read(release.root, splits={"train": "train_base"})
    assert listing.skipped == [
        (f"train_scaled-0000{number}-of-00002.parquet", "nothing says where the split 'train_scaled' goes (--splits)")
        for number in (0, 1)
    ]


def test_impossible_splits_are_refused(release: Release):
    with pytest.raises(RecipeError, match="splits: 'dev'; expected one of train, validation, test"):
        read(release.root, splits={"dev": "dev"})
    with pytest.raises(RecipeError, match="splits: 'dev' is given to validation and to test"):
        read(release.root, splits={"test": "dev"})


def test_the_sets_of_paraspeechclap_are_read(tmp_path: Path):
    columns = [field for field in SCHEMA if field.name != "text_description"]
    schema = pa.schema([*columns, ("text_description", pa.string()), ("classification_tag", pa.string())])
    row = {**VOXCELEB, "text_description": "A deep voice.", "classification_tag": "deep"}
    write_shard(tmp_path / "data" / "classification_pitch-00000-of-00001.parquet", [row], schema)
    message = "nothing says where the splits classification_pitch go; --splits does, as in test=classification_pitch"
    with pytest.raises(ManifestError, match=message):
        read(tmp_path)
    (pair,) = read(tmp_path, splits={"test": "classification_pitch"}).pairs
    assert (pair.split, pair.captions, pair.attributes["classification_tag"]) == (
        "test",
        (Caption("A deep voice."),),
        "deep",
    )
    write_shard(tmp_path / "data" / "train-00000-of-00001.parquet", [EARS])
    listing = read(tmp_path)
    assert ([pair.split for pair in listing.pairs], len(listing.skipped)) == (["train"], 1)


def test_leading_folders_and_columns_can_be_renamed(tmp_path: Path):
    renamed = pa.schema([field.with_name("speaker" if field.name == "speakerid" else field.name) for field in SCHEMA])
    row = {"speaker" if name == "speakerid" else name: value for name, value in VOXCELEB.items()}
    pair = one(tmp_path, row, renamed, columns={"speakerid": "speaker"}, remaps={"voxceleb/voxceleb1": "vox1"})
    assert (pair.audio, pair.speaker) == ("vox1/dev/wav/id10270/5r0dWxy17C8/00001_voicefixer.wav", "voxceleb_id10270")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gender": "robot"}, "row 1: column 'gender' is 'robot'; expected one of m, male"),
        ({"pitch": "squeaky"}, "row 1: column 'pitch' is 'squeaky'; expected one of low-pitched"),
        ({"text_description": None}, "row 1: column 'text_description' is empty"),
        ({"text_description": ["", None]}, "row 1: column 'text_description' is empty"),
        ({"source": None}, "row 1: column 'source' is empty"),
        ({"relative_audio_path": "../../x.wav"}, "row 1: the path 'voxceleb/../../x.wav' leaves the audio root"),
        ({"source": ".."}, "row 1: the path '../voxceleb1/.*' leaves the audio root"),
    ],
)
def test_bad_rows_are_errors_or_counted(tmp_path: Path, changes: dict, message: str):
    path = write_shard(tmp_path / "train_base-00000-of-00001.parquet", [{**VOXCELEB, **changes}, EARS])
    with pytest.raises(ManifestError, match=message):
        read(path)
    listing = read(path, True)
    assert len(listing.pairs) == 1
    assert [where for where, _ in listing.skipped] == [f"{path.name}, row 1"]


def test_bad_files_are_errors(tmp_path: Path):
    with pytest.raises(ManifestError, match="no Parquet files; expected data/train_base-00000-of-00001"):
        read(tmp_path)
    path = write_shard(tmp_path / "data" / "dev-00000-of-00001.parquet", [])
    with pytest.raises(ManifestError, match=r"dev-00000-of-00001\.parquet: no rows"):
        read(tmp_path)
    write_shard(path, [{"text": "A man"}], pa.schema([("text", pa.string())]))
    with pytest.raises(ManifestError, match=r"dev-00000-of-00001\.parquet: no column 'source'; the columns are text"):
        read(tmp_path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        read(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ManifestError, match=r"dev-00000-of-00001\.parquet: a folder; expected a table"):
        read(tmp_path)
