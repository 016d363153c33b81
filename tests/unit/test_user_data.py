"""What users bring: tables, AudioFolder folders, data sets of the Hub and WebDataset shards become the same pairs."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from corpus_fixtures import write_tone
from rich.console import Console

from raclap.corpora import listing
from raclap.corpora.listing import CorpusListing, LeftOut
from raclap.corpora.measurement import Measurement
from raclap.corpora.preparation import READERS, Summary, prepare
from raclap.data.manifest import SPLITS, Caption, Manifest, Pair, read_manifest
from raclap.errors import ManifestError, RecipeError

CAPTION = (Caption("A calm voice."),)


@pytest.fixture(autouse=True)
def quick_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strongest frequency for the pitch: what is measured, and how, is tested elsewhere."""

    def measure_all(paths: list[Path], *_: object) -> list[Measurement]:
        spectra = [np.abs(np.fft.rfft(soundfile.read(path)[0], 16_000)) for path in paths]
        return [Measurement(float(spectrum.argmax()), 1.0, -30.0, 4.0, 0.3) for spectrum in spectra]

    monkeypatch.setattr(listing, "measure_all", measure_all)


@pytest.fixture
def audio(tmp_path: Path) -> bytes:
    return write_tone(tmp_path / "tone.wav").read_bytes()


def read(corpus: str, root: Path, **options: Any) -> CorpusListing:
    return CorpusListing.of(READERS[corpus](root, **options))


def run(corpus: str, root: Path, output: Path, **options: Any) -> tuple[Manifest, Summary]:
    path = output / "manifest.parquet"
    summary = prepare(corpus, root, path, console=Console(file=StringIO()), **options)
    return read_manifest(path), summary


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# Tables


def test_every_field_can_be_named(tmp_path: Path):
    table = write(
        tmp_path / "t.csv",
        "Clip;Cap;Id;Set;From;To;Words;Who;MF;Years;Tongue;Mood;Force;V;A;D;Marks;Style;Rights;Origin;F0\n"
        "x/1.wav; A voice. ;one;dev;1.5;2;Hi;ann;F;30;de;Anger;strong;1;-2;3.5;"
        '"[""calm"", ""low""]";s1;CC0;mine;Low\n',
    )
    columns = {
        "path": "Clip", "caption": "Cap", "pair_id": "Id", "split": "Set", "start": "From", "end": "To",
        "transcript": "Words", "speaker": "Who", "sex": "MF", "age": "Years", "language": "Tongue", "emotion": "Mood",
        "intensity": "Force", "valence": "V", "arousal": "A", "dominance": "D", "tags": "Marks", "style_key": "Style",
        "licence": "Rights", "corpus": "Origin", "pitch": "F0",
    }  # fmt: skip
    options = {"columns": columns, "delimiter": ";", "attributes": ("pitch", "emotion", "Force")}
    assert read("table", table, **options).pairs == [
        Pair(
            "one", "x/1.wav", (Caption("A voice."),), "mine", "validation", start=1.5, end=2.0, transcript="Hi",
            speaker="ann", sex="female", age="30", language="de", emotion="angry", intensity="strong", valence=1.0,
            arousal=-2.0, dominance=3.5, attributes={"pitch": "low", "emotion": "angry", "Force": "strong"},
            tags=("calm", "low"), style_key="s1", licence="CC0",
        )
    ]  # fmt: skip


def test_well_known_names_are_taken_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = write(
        tmp_path / "voices.csv",
        "file_name,style_prompt,Speaker,gender,split,text,score\na.wav,A calm voice.,ann,M,test,Hello,3\n",
    )
    options = {"language": "en", "licence": "CC0"}
    assert read("table", table, **options).pairs == [
        Pair(
            "a.wav", "a.wav", CAPTION, "voices", "test", speaker="ann", sex="male", language="en", licence="CC0",
        )
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert f"{table}: column 'file_name' is taken for audio" in said
    assert "column 'style_prompt' is taken for captions" in said
    assert "column 'gender' is taken for sex" in said
    assert "not read: text, score" in said
    assert "'Speaker'" not in said, "its own name is no guess"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,file_name,caption", "row 1: path or file_name may be audio; the columns are path, file_name, caption"),
        ("path,prompt,description", "row 1: prompt or description may be captions|description or prompt"),
        ("path,text,split", "row 1: no column is known to be captions.*--columns says which it is"),
        ("clip,caption,split", "row 1: no column is known to be audio"),
    ],
)
def test_nothing_is_guessed_that_may_be_two_things(tmp_path: Path, header: str, message: str):
    table = write(tmp_path / "t.csv", f"{header}\na,b,c\n")
    for skip_bad in (False, True):
        with pytest.raises(ManifestError, match=message):
            read("table", table, split="train", skip_bad=skip_bad)


def test_captions_of_several_columns_and_of_lists(tmp_path: Path):
    table = write(
        tmp_path / "t.csv",
        "path,one,two\na.wav,First.,Second.\nb.wav,,\"['It''s a voice.', 'Another.']\"\n".replace("It''s", "Its")
        + "c.wav,[laughs] A voice [coughs],nan\n",
    )
    pairs = read("table", table, caption_columns=("one", "two"), split="train").pairs
    assert [[caption.text for caption in pair.captions] for pair in pairs] == [
        ["First.", "Second."],
        ["Its a voice.", "Another."],
        ["[laughs] A voice [coughs]"],
    ]
    rows = [{"path": "a.wav", "caption": ["First.", " Second. ", None, ""]}, {"path": "b.wav", "caption": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    with pytest.raises(ManifestError, match=r"t\.parquet: row 2: column 'caption' is empty; expected a caption"):
        read("table", tmp_path / "t.parquet", split="train")
    found = read("table", tmp_path / "t.parquet", split="train", skip_bad=True)
    assert [caption.text for caption in found.pairs[0].captions] == ["First.", "Second."]
    assert found.skipped == [LeftOut("t.parquet, row 2", "column 'caption' is empty; expected a caption")]


def test_json_lines_may_leave_out_what_is_empty(tmp_path: Path):
    table = write(
        tmp_path / "t.jsonl",
        '{"path": "a.wav", "caption": "A calm voice."}\n'
        '{"path": "b.wav", "caption": ["A calm voice."], "spk_id": 7}\n',
    )
    pairs = read("table", table, split="train").pairs
    assert [(pair.audio, pair.captions, pair.speaker) for pair in pairs] == [
        ("a.wav", CAPTION, None),
        ("b.wav", CAPTION, "7"),
    ]


def test_stretches_of_one_recording_have_names_of_their_own(tmp_path: Path):
    rows = "long.wav,A,0,12345.678\nlong.wav,B,12345.678,\nlong.wav,C,,3\n"
    table = write(tmp_path / "t.csv", f"path,caption,start,end\n{rows}")
    ids = [pair.pair_id for pair in read("table", table, split="train").pairs]
    assert ids == ["long.wav#0.0-12345.678", "long.wav#12345.678-", "long.wav#0.0-3.0"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"columns": {"sound": "path"}}, RecipeError, "columns: no field 'sound'; the fields are audio, captions"),
        ({"columns": {"path": "path", "audio": "caption"}}, RecipeError, "audio is both 'path' and 'caption'"),
        ({"columns": {"speaker": "who"}}, ManifestError, "row 1: no column 'who'; the columns are path, caption"),
        ({"attributes": ("mood",)}, ManifestError, "row 1: no column 'mood'"),
        ({"caption_columns": ("caption", "b")}, ManifestError, "row 1: no column 'b'"),
        ({"caption_columns": ("b",), "columns": {"caption": "c"}}, RecipeError, "expected one of them"),
        ({"split": "dev"}, RecipeError, "split: 'dev'; expected one of train, validation, test"),
        ({"splits": {"dev": "a"}}, RecipeError, "splits: 'dev'; expected one of train"),
        ({"validation_share": 0.6, "test_share": 0.4}, RecipeError, "leave some for training"),
        ({"captions": 6, "columns": {"caption": "caption"}}, RecipeError, "has its captions from elsewhere"),
        ({"delimiter": "::"}, RecipeError, "delimiter: '::'; expected tab or one character"),
        ({}, ManifestError, "row 1: nothing says which split it belongs to; --columns split=THEIRS"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, options: dict, error: type[Exception], message: str):
    table = write(tmp_path / "t.csv", "path,caption\na.wav,A calm voice.\n")
    with pytest.raises(error, match=message):
        read("table", table, **options)


@pytest.mark.parametrize(
    ("split", "options", "expected"),
    [
        ("Training", {}, "train"),
        ("dev", {}, "validation"),
        ("holdout", {"splits": {"test": "holdout,other"}}, "test"),
        ("holdout", {"split": "train"}, "train"),
        ("test", {"validation_share": 0.99}, "test"),
        ("train", {"validation_share": 0.999}, "validation"),
    ],
)
def test_splits_of_a_column(tmp_path: Path, split: str, options: dict, expected: str):
    table = write(tmp_path / "t.csv", f"path,caption,split\na.wav,A voice.,{split}\n")
    assert [pair.split for pair in read("table", table, **options).pairs] == [expected]


def test_an_unknown_split_is_named(tmp_path: Path):
    table = write(tmp_path / "t.csv", "path,caption,split\na.wav,A voice.,holdout\n")
    with pytest.raises(
        ManifestError, match=r"row 1: column 'split' is 'holdout'; expected train, .*or what --splits says"
    ):
        read("table", table)


def test_splits_of_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = "dev-clean/test/a.wav,A\nTrain/b.wav,B\nx/test_set/test.wav,C\n"
    table = write(tmp_path / "t.csv", f"path,caption\n{rows}")
    assert [pair.split for pair in read("table", table).pairs] == ["validation", "train", "test"]
    assert "splits are those that folders, files" in capsys.readouterr().out
    write(tmp_path / "u.csv", "path,caption\ntest.wav,A\ntrainers/b.wav,B\n")
    assert len(read("table", tmp_path / "u.csv", skip_bad=True).skipped) == 2, "a recording's own name tells nothing"


def test_shares_divide_speakers_and_never_a_recording(tmp_path: Path):
    rows = "".join(f"{row}.wav,A voice.,s{row % 40}\n{row}.wav,A voice.,s{row % 40}\n" for row in range(400))
    table = write(tmp_path / "t.csv", f"path,caption,speaker\n{rows}")
    pairs = read("table", table, validation_share=0.25, test_share=0.25).pairs
    splits = {split: {pair.speaker for pair in pairs if pair.split == split} for split in SPLITS}
    assert all(len(own) > 3 for own in splits.values()) and sum(map(len, splits.values())) == 40
    unnamed = write(tmp_path / "u.csv", f"path,caption,speaker\n{rows}".replace(",s", ",nan#"))
    unnamed.write_text("\n".join(line.partition("#")[0] for line in unnamed.read_text().splitlines()), "utf-8")
    pairs = read("table", unnamed, test_share=0.5).pairs
    assert {pair.speaker for pair in pairs} == {None}
    recordings = {split: {pair.audio for pair in pairs if pair.split == split} for split in ("train", "test")}
    assert not recordings["train"] & recordings["test"] and all(len(own) > 100 for own in recordings.values())


def test_shards_of_a_folder_tell_their_split(tmp_path: Path):
    for name, clip in (("data/train-00000-of-00002", "a"), ("data/train-00001-of-00002", "b"), ("data/dev", "c")):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"path": [f"{clip}.wav"], "caption": ["A calm voice."]}), path)
    pairs = read("table", tmp_path).pairs
    assert [(pair.audio, pair.split) for pair in pairs] == [
        ("c.wav", "validation"),
        ("a.wav", "train"),
        ("b.wav", "train"),
    ]
    write(tmp_path / "more.csv", "path,caption\n")
    with pytest.raises(
        ManifestError, match=r"tables of several kinds \(\.parquet, \.csv\); expected those of one kind"
    ):
        read("table", tmp_path)


def test_a_folder_without_tables_is_named(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"no table \(\.parquet, \.csv"):
        read("table", tmp_path)


@pytest.mark.parametrize("path", ["../a.wav", "x/../../a.wav", "/elsewhere/a.wav", "C:\\a.wav", "..\\a.wav"])
def test_paths_of_a_table_never_leave_the_root(tmp_path: Path, path: str):
    table = write(tmp_path / "t.csv", f"path,caption\n{path},A voice.\nb.wav,A voice.\n")
    with pytest.raises(ManifestError, match=r"t\.csv: row 1: column 'path' is '.*', which leaves the audio root"):
        read("table", table, split="train")
    found = read("table", table, split="train", skip_bad=True)
    assert [pair.audio for pair in found.pairs] == ["b.wav"]
    assert [left_out.where for left_out in found.skipped] == ["t.csv, row 1"]


def test_absolute_paths_below_the_root_and_renamed_folders(tmp_path: Path):
    table = write(
        tmp_path / "tables" / "t.csv", f"path,caption\n{tmp_path}/audio/a.wav,A\n/data/x/b.wav,B\nold/c.wav,C\n"
    )
    options = {"audio_root": tmp_path / "audio", "remaps": {"/data": "", "old": "new/er"}, "split": "train"}
    assert [pair.audio for pair in read("table", table, **options).pairs] == ["a.wav", "x/b.wav", "new/er/c.wav"]


def test_captions_are_composed_where_a_table_has_labels_alone(tmp_path: Path):
    rows = "".join(f"{pitch}.wav,{mood}\n" for pitch, mood in ((120, "Sadness"), (200, "joy"), (300, "anger")))
    table = write(tmp_path / "t.csv", f"path,emotion\n{rows}")
    for pitch in (120, 200, 300):
        write_tone(tmp_path / f"{pitch}.wav", pitch=pitch)
    options = {"captions": 4, "attributes": ("emotion",), "measured": ("pitch",), "split": "train"}
    pairs = read("table", table, **options).pairs
    assert [pair.attributes for pair in pairs] == [
        {"emotion": "sad", "pitch": "low"},
        {"emotion": "happy", "pitch": "normal"},
        {"emotion": "angry", "pitch": "high"},
    ]
    assert all(len(pair.captions) == 4 and pair.captions[1].names == ("emotion",) for pair in pairs)
    write(table, f"path,emotion\n{rows}120.wav,amused\n".replace("sad", "sad"))
    with pytest.raises(ManifestError, match="emotion 'amused'; expected one of neutral, calm"):
        read("table", table, **options)
    found = read("table", table, skip_bad=True, **options)
    assert len(found.pairs) == 3 and found.skipped[0].reason.startswith("emotion 'amused'; expected one of")


# AudioFolder


def test_metadata_name_recordings_from_their_own_folder(tmp_path: Path):
    write_tone(tmp_path / "train" / "sub folder" / "a (1).wav")
    write_tone(tmp_path / "validation" / "b.mp3")
    write_tone(tmp_path / "test" / "c.flac")
    write(tmp_path / "train" / "metadata.csv", 'file_name,caption\n"sub folder/a (1).wav",A calm voice.\n')
    write(tmp_path / "validation" / "metadata.jsonl", '{"file_name": "b.mp3", "caption": ["A calm voice."]}\n')
    table = pa.table({"file_name": ["c.flac"], "caption": ["A calm voice."]})
    pq.write_table(table, tmp_path / "test" / "metadata.parquet")
    manifest, _ = run("audio_folder", tmp_path, tmp_path / "out", name="mine")
    assert list(manifest) == [
        Pair("test/c.flac", "test/c.flac", CAPTION, "mine", "test"),
        Pair("train/sub folder/a (1).wav", "train/sub folder/a (1).wav", CAPTION, "mine", "train"),
        Pair("validation/b.mp3", "validation/b.mp3", CAPTION, "mine", "validation"),
    ]
    # The same layout as `datasets` reads it.
    theirs = datasets.load_dataset(str(tmp_path / "train"), streaming=True)["train"].with_format("arrow")
    assert next(theirs.iter(1)).to_pylist()[0]["audio"]["path"].endswith("train/sub folder/a (1).wav")


def test_metadata_in_the_root_and_split_folders(tmp_path: Path):
    write_tone(tmp_path / "dev" / "a.wav")
    write(tmp_path / "metadata.csv", "file_name,caption\ndev/a.wav,A calm voice.\n")
    (pair,) = run("audio_folder", tmp_path, tmp_path / "out")[0]
    assert (pair.audio, pair.split) == ("dev/a.wav", "validation")


def test_two_metadata_in_one_folder_are_refused(tmp_path: Path):
    write(tmp_path / "metadata.csv", "file_name,caption\na.wav,A\n")
    write(tmp_path / "metadata.jsonl", '{"file_name": "a.wav", "caption": "A"}\n')
    with pytest.raises(ManifestError, match=r"metadata\.csv and metadata\.jsonl; expected one of them"):
        read("audio_folder", tmp_path, split="train")


def make_labelled(root: Path) -> Path:
    for split in ("train", "test"):
        for label, pitch in (("Sadness", 120), ("joy", 200), ("anger", 300)):
            for take in ("a.wav", "b.mp3"):
                write_tone(root / split / label / take, pitch=pitch)
    write_tone(root / "test" / "unlabelled.flac", pitch=250)
    write(root / "test" / "joy" / "._a.wav", "resource fork")
    return root


def test_names_of_folders_are_labels_and_captions_are_composed(tmp_path: Path):
    manifest, _ = run("audio_folder", make_labelled(tmp_path / "mine"), tmp_path / "out", measured=("pitch",))
    assert len(manifest) == 13
    pairs = {pair.audio: pair for pair in manifest}
    pair = pairs["test/joy/b.mp3"]
    assert (pair.emotion, pair.split, pair.corpus) == ("happy", "test", "mine")
    assert pair.attributes == {"emotion": "happy", "pitch": "normal"}
    assert pair.style_key == "emotion=happy|pitch=normal"
    assert len(pair.captions) == 6 and pair.captions[1].names == ("emotion",)
    assert pairs["test/unlabelled.flac"].emotion is None
    assert {caption.names for caption in pairs["test/unlabelled.flac"].captions} == {("pitch",)}


def test_names_of_folders_may_be_speakers(tmp_path: Path):
    root = make_labelled(tmp_path / "mine")
    pairs = read("audio_folder", root, label="speaker", measured=("pitch",)).pairs
    assert {pair.speaker for pair in pairs} == {"Sadness", "joy", "anger", None}
    assert all(pair.emotion is None and pair.attributes.keys() == {"pitch"} for pair in pairs)


def test_a_label_without_words_is_named_or_counted(tmp_path: Path):
    root = make_labelled(tmp_path / "mine")
    write_tone(root / "train" / "yodelling" / "x.wav")
    with pytest.raises(ManifestError, match=r"train/yodelling/x\.wav: emotion 'yodelling'; expected one of"):
        read("audio_folder", root)
    found = read("audio_folder", root, skip_bad=True)
    assert len(found.pairs) == 13
    assert found.skipped[0].where == "train/yodelling/x.wav"
    assert len(read("audio_folder", root, label="manner").pairs) == 14, "a style of its own needs no words"


@pytest.mark.parametrize("option", [{"columns": {"path": "x"}}, {"attributes": ("x",)}, {"remaps": {"a": "b"}}])
def test_options_of_columns_need_metadata(tmp_path: Path, option: dict):
    with pytest.raises(RecipeError, match=rf"{next(iter(option))}: .* has no metadata\.csv"):
        read("audio_folder", make_labelled(tmp_path), **option)


def test_a_folder_without_recordings_is_named(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"no metadata\.csv or .* and no recording"):
        read("audio_folder", tmp_path)


# Data sets of the Hub


@pytest.fixture
def embedded(tmp_path: Path, audio: bytes) -> Path:
    """Parquet as on the Hub: recordings inside rows, a class as a number, one nested column."""
    features = datasets.Features(
        {
            "audio": datasets.Audio(),
            "caption": datasets.Value("string"),
            "emotion": datasets.ClassLabel(names=["calm", "anger"]),
            "extra": {"accent": datasets.Value("string")},
        }
    )
    for split, count in (("train", 3), ("holdout", 1)):
        rows = [
            {
                "audio": {"bytes": audio, "path": None if row else "a.wav"},
                "caption": "A calm voice.",
                "emotion": row % 2,
                "extra": {"accent": "scots"},
            }
            for row in range(count)
        ]
        schema = features.arrow_schema.with_metadata(
            {"huggingface": json.dumps({"info": {"features": features.to_dict()}})}
        )
        path = tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in ("train", "holdout"))
    write(tmp_path / "hub" / "README.md", f"{card}---\n")
    return tmp_path / "hub"


OPTIONS = {"splits": {"test": "holdout"}, "attributes": ("extra.accent",)}


def test_recordings_inside_rows_are_written_once(tmp_path: Path, embedded: Path, audio: bytes):
    folder = tmp_path / "audio"
    manifest, _ = run("hub", embedded, tmp_path / "out", extract_to=folder, **OPTIONS)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "holdout/00000/000.wav",
        "train/00000/000.wav",
        "train/00000/001.wav",
        "train/00000/002.wav",
    ]
    assert manifest.audio_root == folder
    assert manifest[1] == Pair(
        "train/00000/001.wav", "train/00000/001.wav", CAPTION, "hub", "train", emotion="angry",
        attributes={"extra.accent": "scots"}, style_key="extra.accent=scots",
    )  # fmt: skip
    assert manifest.audio_path(manifest[1]).read_bytes() == audio
    assert "torchcodec" not in sys.modules
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.wav")}
    missing = folder / "train" / "00000" / "002.wav"
    missing.unlink()
    assert run("hub", embedded, tmp_path / "out", extract_to=folder, **OPTIONS)[0].column("audio") == manifest.column(
        "audio"
    )
    assert {path for path in times if path.stat().st_mtime_ns != times[path]} == {missing}


def test_what_lies_in_the_way_of_a_recording_is_kept(tmp_path: Path, embedded: Path):
    other = write(tmp_path / "audio" / "train" / "00000" / "001.wav", "somebody's notes")
    with pytest.raises(ManifestError, match=r"001\.wav: another recording is there; --extract-to names another"):
        read("hub", embedded, extract_to=tmp_path / "audio", **OPTIONS)
    assert other.read_text() == "somebody's notes"
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "train").symlink_to(tmp_path / "audio")
    with pytest.raises(ManifestError, match="a link leads out of"):
        read("hub", embedded, extract_to=tmp_path / "linked", **OPTIONS)


def test_embedded_recordings_need_a_folder_and_splits_a_name(tmp_path: Path, embedded: Path):
    with pytest.raises(ManifestError, match="row 1: column 'audio' holds the recording itself; --extract-to names"):
        read("hub", embedded, **OPTIONS)
    with pytest.raises(ManifestError, match="split holdout, row 1: nothing says which split it belongs to"):
        read("hub", embedded, extract_to=tmp_path / "audio")
    with pytest.raises(RecipeError, match="extract_to and audio_root: expected one of them"):
        read("hub", embedded, extract_to=tmp_path / "audio", audio_root=tmp_path)


def test_audio_folders_are_read_in_place_or_copied(tmp_path: Path):
    recording = write_tone(tmp_path / "mine" / "train" / "a.wav")
    write(tmp_path / "mine" / "train" / "metadata.csv", "file_name,caption\na.wav,A calm voice.\n")
    manifest, _ = run("hub", tmp_path / "mine", tmp_path / "out")
    assert list(manifest) == [Pair("train/a.wav", "train/a.wav", CAPTION, "mine", "train")]
    (copied,) = run("hub", tmp_path / "mine", tmp_path / "out", extract_to=tmp_path / "copy")[0]
    assert (tmp_path / "copy" / copied.audio).read_bytes() == recording.read_bytes()


@pytest.mark.parametrize("whole", [True, False])
def test_saved_data_sets_are_read(tmp_path: Path, audio: bytes, whole: bool):
    rows = datasets.Dataset.from_dict({"path": ["a.wav"], "caption": ["A calm voice."]})
    (datasets.DatasetDict({"test": rows}) if whole else rows).save_to_disk(str(tmp_path / "saved"))
    write_tone(tmp_path / "clips" / "a.wav")
    manifest, _ = run("hub", tmp_path / "saved", tmp_path / "out", audio_root=tmp_path / "clips")
    assert list(manifest) == [Pair("a.wav", "a.wav", CAPTION, "saved", "test" if whole else "train")]


def stream(*rows: dict[str, Any]) -> datasets.IterableDatasetDict:
    return datasets.IterableDatasetDict({"train": datasets.Dataset.from_list(list(rows)).to_iterable_dataset()})


def test_a_name_on_the_hub_is_streamed(tmp_path: Path, audio: bytes, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def load_dataset(*words: Any, **options: Any) -> datasets.IterableDatasetDict:
        asked.append((words, options))
        return stream({"audio": {"bytes": audio, "path": "x.flac"}, "caption": "A calm voice."})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    options = {"config": "clean", "revision": "v1", "extract_to": tmp_path / "audio"}
    (pair,) = run("hub", Path("somebody/voices-1.5"), tmp_path / "out", **options)[0]
    assert asked == [(("somebody/voices-1.5", "clean"), {"revision": "v1", "streaming": True})]
    assert (pair.audio, pair.corpus) == ("train/00000/000.flac", "voices-1.5")


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        ({"bytes": None, "path": "/etc/hostname"}, "is neither on the Hub nor below"),
        ({"bytes": None, "path": "../secret.wav"}, "is neither on the Hub nor below"),
        ({"bytes": None, "path": "https://example.org/a.wav"}, "is neither on the Hub nor below"),
        ({"bytes": None, "path": "zip://a.wav::/etc/archive.zip"}, "is neither on the Hub nor below"),
        ({"bytes": None, "path": None}, "is neither on the Hub nor below"),
        ({"bytes": None, "path": "absent.wav"}, "cannot be read"),
        ({"bytes": b"hello", "path": "a.txt"}, r"neither its name \('a.txt'\) nor its first bytes tell what audio"),
    ],
)
def test_rows_fetch_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: dict, message: str
):
    rows = stream({"audio": recording, "caption": "A voice."})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ManifestError, match=f"split train, row 1: .*{message}"):
        read("hub", tmp_path / "mine", extract_to=tmp_path / "audio")
    assert len(read("hub", tmp_path / "mine", extract_to=tmp_path / "audio", skip_bad=True).skipped) == 1
    assert not list((tmp_path / "audio").rglob("*.*"))


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="empty: cannot be loaded as a data set"):
        read("hub", tmp_path / "empty")

    def absent(*_: Any, **__: Any) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'somebody/nothing' doesn't exist\nor is private")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(ManifestError, match=r"somebody/nothing: cannot be loaded .* \(Dataset .* doesn't exist\)$"):
        read("hub", Path("somebody/nothing"))


# WebDataset


def write_shard(path: Path, *files: tuple[str, bytes | tarfile.TarInfo], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, contents in files:
            info = contents if isinstance(contents, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            info.size = len(contents) if isinstance(contents, bytes) else 0
            archive.addfile(info, io.BytesIO(contents) if isinstance(contents, bytes) else None)
    return path


def link(to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, to
    return info


FIELDS = json.dumps({"caption": "A calm voice.", "spk_id": "ann"}).encode()


def test_shards_are_extracted(tmp_path: Path, audio: bytes):
    root = tmp_path / "voices"
    write_shard(root / "train" / "000.tar", ("sub/a.1.wav", audio), ("sub/a.1.json", b"{}"))
    write_shard(root / "train" / "000.tar", ("sub/a.wav", audio), ("sub/a.json", FIELDS), ("sub/._a.wav", b""))
    write_shard(root / "train" / "001.tar.gz", ("a.JSON", FIELDS), ("a.WAV", audio), mode="w:gz")
    write_shard(root / "test" / "000.tar", ("a.wav", audio), ("a.json", FIELDS), ("a.cls", b"3"))
    manifest, _ = run("webdataset", root, tmp_path / "out", extract_to=tmp_path / "audio")
    assert [(pair.audio, pair.split, pair.speaker, pair.corpus) for pair in manifest] == [
        ("test/000/a.wav", "test", "ann", "voices"),
        ("train/000/sub/a.wav", "train", "ann", "voices"),
        ("train/001/a.WAV", "train", "ann", "voices"),
    ]
    assert all(manifest.audio_path(pair).read_bytes() == audio for pair in manifest)
    assert {pair.captions for pair in manifest} == {CAPTION}


def test_a_text_beside_the_recording_is_its_caption(tmp_path: Path, audio: bytes):
    for number in ("009", "010"):
        write_shard(tmp_path / f"{number}.tar", ("a.wav", audio), ("a.txt", b"A calm voice.\n"))
    options = {"extract_to": tmp_path / "audio", "split": "train"}
    pairs = read("webdataset", tmp_path / "{009..010}.tar", **options).pairs
    assert [(pair.audio, pair.captions) for pair in pairs] == [("009/a.wav", CAPTION), ("010/a.wav", CAPTION)]
    with pytest.raises(ManifestError, match=r"011\.tar: no such shard"):
        read("webdataset", tmp_path / "{009..011}.tar", **options)


GOOD = (("good.wav", b"RIFF"), ("good.json", FIELDS))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((("../a.wav", b"RIFF"), ("../a.json", FIELDS)), r"key '\.\./a': '\.\./a\.wav' leaves the archive"),
        ((("/etc/a.wav", b"RIFF"), ("/etc/a.json", FIELDS)), "leaves the archive"),
        ((("a.wav", link("/etc/hostname")), ("a.json", FIELDS)), r"key 'a': 'a\.wav' is a link or device"),
        ((("a.wav", link("good.wav", tarfile.LNKTYPE)), ("a.json", FIELDS)), r"'a\.wav' is a link or device"),
        ((("a.wav", link("", tarfile.FIFOTYPE)), ("a.json", FIELDS)), r"'a\.wav' is a link or device"),
        ((("a.json", FIELDS),), r"key 'a': expected one recording .* there is none beside its texts"),
        ((("a.wav", b"RIFF"), ("a.mp3", b"ID3"), ("a.json", FIELDS)), r"there is a\.wav, a\.mp3"),
        ((("a.wav", b"RIFF"),), r"key 'a': no \.json and no \.txt beside the recording"),
        ((("a.wav", b"RIFF"), ("a.json", b"[1]")), r"'a\.json': list; expected an object"),
        ((("a.wav", b"RIFF"), ("a.json", b'{"caption": ')), r"'a\.json': not JSON"),
        ((("a.wav", b"RIFF"), ("a.txt", b"\xff")), r"'a\.txt': .*can't decode"),
        ((("a.wav", b"RIFF"), ("a.json", b'{"caption": ""}')), "key 'a': column 'caption' is empty"),
        ((("good.wav", b"RIFX"), ("good.json", FIELDS)), r"'good\.wav' is there twice"),
    ],
)
def test_bad_keys_are_named_or_counted(tmp_path: Path, files: tuple, message: str):
    extra = (("between.wav", b"RIFF"), ("between.json", FIELDS))
    shard = write_shard(tmp_path / "s.tar", *GOOD, *extra, *files)
    folder = tmp_path / "audio"
    with pytest.raises(ManifestError, match=rf"s\.tar: key '.*{message.removeprefix('key ')}|s\.tar: {message}"):
        read("webdataset", shard, extract_to=folder, split="train")
    found = read("webdataset", shard, extract_to=folder, split="train", skip_bad=True)
    assert [pair.audio for pair in found.pairs] == ["s/good.wav", "s/between.wav"]
    assert len(found.skipped) == 1
    assert {path.name for path in tmp_path.rglob("*.wav")} == {"good.wav", "between.wav"}


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: b"no archive" * 100, lambda data: data[: len(data) // 4]],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_bad_shards_are_named(tmp_path: Path, audio: bytes, spoil: Callable[[bytes], bytes], mode: str):
    shard = write_shard(tmp_path / "s.tar", ("a.wav", audio), ("a.json", FIELDS), mode=mode)
    shard.write_bytes(spoil(shard.read_bytes()))
    for skip_bad in (False, True):
        with pytest.raises(ManifestError, match=r"s\.tar: not a readable tar archive"):
            read("webdataset", shard, extract_to=tmp_path / "audio", split="train", skip_bad=skip_bad)


def test_a_folder_without_shards_is_named_and_a_folder_for_audio_is_needed(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"no shard \(\.tar, "):
        read("webdataset", tmp_path, extract_to=tmp_path / "audio")
    with pytest.raises(RecipeError, match="prepare webdataset: --extract-to is needed: folder that audio"):
        run("webdataset", tmp_path, tmp_path / "out")
