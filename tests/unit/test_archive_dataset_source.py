"""A data set as the source of an index: what is found in it, how it is named, and what is said where it cannot be."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from conftest import RATE, tone
from raclap.archive.dataset_address import DatasetOptions
from raclap.archive.dataset_sound import read_row
from raclap.archive.dataset_source import DatasetSource
from raclap.archive.facts import ArchiveError
from raclap.archive.folder_source import FolderSource
from raclap.archive.source_opening import is_dataset, open_source
from raclap.archive.sources import Entry, SourceRecording, Unreadable
from raclap.data.audio import AudioBytes

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library writes no rows there, but a lock."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def sound(pitch: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(pitch, 0.3, 0.4, np.random.default_rng(int(pitch))), RATE, format="FLAC")
    return file.getvalue()


def row(pitch: float, path: str | None, **more: Any) -> dict[str, Any]:
    return {"audio": {"bytes": sound(pitch), "path": path}, **more}


def write(path: Path, rows: Rows, group: int = 2, **features: Any) -> Path:
    """A Parquet file as `push_to_hub` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(rows)
    kinds = {**table.features, "audio": datasets.Audio(), **features}
    table.cast(datasets.Features({name: kinds[name] for name in table.column_names})).to_parquet(path, group)
    return path


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Two splits, the first of them of two files; one path twice, one row without."""
    folder = tmp_path / "voices"
    write(folder / "data" / "train-00000-of-00002.parquet", [row(100 + n, f"{n}.flac", n=n) for n in range(3)])
    write(folder / "data" / "train-00001-of-00002.parquet", [row(200, "0.flac", n=3), row(210, None, n=4)])
    write(folder / "data" / "test-00000-of-00001.parquet", [row(300, "0.flac", n=5)])
    return folder


def everything(source: DatasetSource, processes: int = 1, wanted: Callable[[Entry], bool] = lambda _: True) -> Any:
    """What is found when the source is gone through, and what each process then reads of it."""
    found = list(source)
    parts = {entry.part for entry in found}
    return found, [list(source.waiting(wanted, parts, own, processes)) for own in range(processes)]


def names(entries: Iterable[Entry]) -> list[str]:
    return [entry.name for entry in entries]


def test_rows_are_looked_at_first_and_then_read(voices: Path) -> None:
    source = open_source(voices)
    found, (read,) = everything(source)
    assert (
        names(found)
        == names(read)
        == [
            "train/0.flac", "train/1.flac", "train/2.flac", "train/00001/000000", "train/00001/000001", "test/0.flac",
        ]
    )  # fmt: skip
    assert source.has_numbers and source.root == source.name == f"file://{voices}"
    for number, (seen, entry) in enumerate(zip(found, read, strict=True)):
        pitch = (100, 101, 102, 200, 210, 300)[number]
        assert seen.path is None and entry.path == AudioBytes(entry.name, sound(pitch))
        assert entry.size == len(sound(pitch)) and abs(seen.size - entry.size) < 0.2 * entry.size
        assert seen.mtime_ns == entry.mtime_ns and (seen.row, seen.facts) == (entry.row, entry.facts)
        assert read_row(entry.row, source.root) == sound(pitch)
    facts = [dict(zip(source.columns, entry.facts, strict=True)) for entry in found]
    assert facts[4] == {"corpus": "voices", "split": "train", "n": 4}
    assert [field.name for field in source.added_fields] == ["n"]
    assert len({entry.mtime_ns for entry in found}) == 3, "a version a file"


def test_recordings_that_nobody_wants_are_not_read(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raclap.archive.dataset_parts import ParquetPart

    groups = []
    read = ParquetPart._recordings
    monkeypatch.setattr(
        ParquetPart,
        "_recordings",
        lambda part, file, group: groups.append((part.name, group)) or read(part, file, group),
    )
    _, (found,) = everything(open_source(voices), wanted=lambda entry: entry.name == "train/2.flac")
    assert names(found) == ["train/2.flac"] and groups == [("data/train-00000-of-00002.parquet", 1)]


def test_processes_share_the_rows(voices: Path) -> None:
    found, shares = everything(open_source(voices), processes=2)
    assert all(shares) and sorted(names([*shares[0], *shares[1]])) == sorted(names(found))


def test_splits_can_be_chosen_and_the_others_are_left_alone(voices: Path) -> None:
    source = open_source(voices, dataset=DatasetOptions(splits=("test",)))
    assert names(source) == ["test/0.flac"]
    assert source.covers("test/gone.flac") and not source.covers("train/0.flac")
    assert open_source(voices).covers("train/0.flac")


def test_a_data_set_that_save_to_disk_wrote(tmp_path: Path, voices: Path) -> None:
    held = datasets.Dataset.from_parquet(str(voices / "data" / "train-00000-of-00002.parquet"))
    datasets.DatasetDict({"a": held, "b": held.select([2, 0])}).save_to_disk(tmp_path / "saved")
    assert is_dataset(tmp_path / "saved")
    source = open_source(tmp_path / "saved")
    _, (read,) = everything(source)
    assert names(read) == ["a/0.flac", "a/1.flac", "a/2.flac", "b/2.flac", "b/0.flac"]
    assert [read_row(entry.row, source.root) for entry in read[3:]] == [sound(102), sound(100)]
    with pytest.raises(ArchiveError, match="knows no configurations"):
        open_source(tmp_path / "saved", dataset=DatasetOptions(config="x"))


def test_a_folder_of_recordings_with_metadata(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for split, name in (("train", "a"), ("train", "sub/b"), ("test", "c")):
        (folder / split / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / split / f"{name}.flac").write_bytes(sound(100))
    (folder / "train" / "metadata.csv").write_text("file_name,mood\na.flac,calm\nsub/b.flac,angry\n")
    (folder / "test" / "metadata.csv").write_text("file_name,mood\nc.flac,calm\n")
    assert not is_dataset(folder) and isinstance(open_source(folder), FolderSource)
    source = open_source(folder, dataset=DatasetOptions(is_dataset=True))
    found, (read,) = everything(source)
    assert sorted(names(found)) == ["test/c.flac", "train/a.flac", "train/sub/b.flac"]
    assert found == read and all(entry.path.is_file() for entry in read), "they are files, and stay files"
    moods = {entry.name: dict(zip(source.columns, entry.facts, strict=True))["mood"] for entry in read}
    assert moods["train/sub/b.flac"] == "angry"
    assert read_row(read[0].row, source.root) == sound(100)


def test_tar_shards(tmp_path: Path) -> None:
    for shard in range(2):
        (tmp_path / "tars").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tars" / f"train-{shard}.tar", "w") as tar:
            for number in range(2):
                for name, content in (("flac", sound(100 + 10 * shard + number)), ("json", b'{"mood": "calm"}')):
                    member = tarfile.TarInfo(f"{shard}-{number}.{name}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    source = open_source(tmp_path / "tars", dataset=DatasetOptions(is_dataset=True))
    found, shares = everything(source, processes=2)
    assert names(found) == [f"train/{name}.flac" for name in ("0-0", "0-1", "1-0", "1-1")]
    assert [names(share) for share in shares] == [names(found)[:2], names(found)[2:]]
    assert source.columns == ("corpus", "split", "json_mood") and found[0].facts == ("tars", "train", "calm")
    last = shares[1][1]
    assert last.path.data == read_row(last.row, source.root) == sound(111)


def test_paths_in_rows_lead_to_files_of_the_data_set_alone(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips" / "a.flac").write_bytes(sound(100))
    (tmp_path / "secret.flac").write_bytes(sound(100))
    paths = ["clips/a.flac", str(folder / "clips" / "a.flac"), "../secret.flac", "clips/gone.flac", None]
    datasets.Dataset.from_list([{"clip": path, "n": 1} for path in paths]).save_to_disk(folder / "rows")
    shutil.copytree(folder / "rows", folder, dirs_exist_ok=True)
    source = open_source(folder, dataset=DatasetOptions(audio_column="clip"))
    _, (read,) = everything(source)
    datasets.Dataset.from_list([{"clip": path, "n": 1} for path in paths]).to_parquet(folder / "rows.parquet")
    of_file = open_source(folder / "rows.parquet", dataset=DatasetOptions(audio_column="clip", is_dataset=True))
    assert [type(entry) for entry in of_file] == [Unreadable] * 4 + [SourceRecording], "a file has nothing below it"
    kinds = [type(entry) for entry in read]
    assert kinds == [SourceRecording, SourceRecording, Unreadable, Unreadable, Unreadable]
    assert read[0].path == read[1].path == folder / "clips" / "a.flac" and read[0].name != read[1].name
    reasons = [entry.reason for entry in read[2:]]
    assert (
        "does not lie below" in reasons[0] and "No such file" in reasons[1] and "no recording in its row" in reasons[2]
    )


def test_rows_without_a_recording_and_damaged_files_are_listed(voices: Path) -> None:
    write(voices / "data" / "test-00000-of-00001.parquet", [
        row(300, "0.flac"), {"audio": None}, {"audio": {"bytes": None, "path": "x.flac"}},
    ])  # fmt: skip
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        (voices / "data" / f"{name}.parquet").write_bytes(b"no Parquet")
    found, (read,) = everything(open_source(voices))
    bad = [entry for entry in read if isinstance(entry, Unreadable)]
    assert [entry for entry in found if isinstance(entry, Unreadable)] == bad[:2]
    assert bad.pop(0).name == bad[0].name == "train/"
    assert "data/train-00001-of-00002.parquet cannot be read" in bad[0].reason
    assert bad[1] == Unreadable("test/00000/000001", "there is no recording in its row", 2)
    assert bad[2].name == "test/x.flac" and "cannot be read (" in bad[2].reason
    assert names(read)[2] == "test/0.flac" and len(read) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "noisy"}, r"has no configuration 'noisy'; there are default$"),
        ({"splits": ("dev",)}, r"has no split 'dev'; there are train, test \(--split\)"),
        ({"audio_column": "n"}, r"column 'n' holds no recordings, neither bytes nor paths; its columns are audio, n"),
        ({"audio_column": "clip"}, r"has no column 'clip'; its columns are audio, n \(--audio-column\)"),
        ({"revision": "v1"}, r"lies on this machine, where it has no revisions"),
    ],
)
def test_options_that_do_not_fit(voices: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        open_source(voices, dataset=DatasetOptions(**options))


def test_the_column_of_recordings_must_be_clear(tmp_path: Path) -> None:
    write(tmp_path / "two" / "a.parquet", [row(100, "a.flac", other={"bytes": b"x", "path": "b"})],
          other=datasets.Audio())  # fmt: skip
    with pytest.raises(ArchiveError, match="several columns of recordings, audio, other; --audio-column names one"):
        open_source(tmp_path / "two")
    assert names(open_source(tmp_path / "two", dataset=DatasetOptions(audio_column="other"))) == ["train/b"]
    datasets.Dataset.from_list([{"text": "a"}]).to_parquet(tmp_path / "none" / "a.parquet")
    with pytest.raises(ArchiveError, match=r"no column is of the feature Audio; its columns are text; --audio-column"):
        open_source(tmp_path / "none", dataset=DatasetOptions(is_dataset=True))
    assert isinstance(open_source(tmp_path / "none"), FolderSource), "a table is no data set of recordings"


def test_configurations_are_named_where_one_must_be_chosen(voices: Path) -> None:
    (voices / "README.md").write_text(
        "---\nconfigs:\n- config_name: clean\n  data_files: data/train-*\n- config_name: noisy\n"
        "  data_files: data/test-*\n---\n"
    )
    with pytest.raises(ArchiveError, match=r"has several configurations; --config names one; there are clean, noisy$"):
        open_source(voices)
    source = open_source(voices, dataset=DatasetOptions(config="noisy"))
    assert source.root == f"file://{voices}?config=noisy" and names(source) == ["train/0.flac"]


def test_what_is_no_data_set_is_told(tmp_path: Path, voices: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").write_bytes(b"x")
    with pytest.raises(ArchiveError, match=r"--split: .*clips is no data set; --dataset reads a folder as one"):
        open_source(tmp_path / "clips", dataset=DatasetOptions(splits=("train",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match="holds no files that the library datasets can read"):
        open_source(tmp_path / "empty", dataset=DatasetOptions(is_dataset=True))
    with pytest.raises(ArchiveError, match="is a data set, whose recordings are in it or below it"):
        open_source(voices, audio_root=tmp_path)


def test_a_folder_of_the_same_name_is_not_taken_for_the_hub(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(voices.parent)
    with pytest.raises(ArchiveError, match="the folder voices here hides it; run the command in another folder"):
        open_source("hf://datasets/voices")


def test_a_single_file_and_parts_as_other_programs_name_them(voices: Path, tmp_path: Path) -> None:
    file = voices / "data" / "test-00000-of-00001.parquet"
    assert names(open_source(file)) == ["train/0.flac"], "the library calls what is of no split train"
    (tmp_path / "spark").mkdir()
    shutil.copy(file, tmp_path / "spark" / "part-00000.parquet")
    assert names(open_source(tmp_path / "spark")) == ["train/0.flac"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. You must be"),
            r"is gated; accept its conditions on https://huggingface.co/datasets/a/b, and log in \(hf auth login\)",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed."),
            "there is no such data set on the Hub, or it is private and you are not logged in",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Revision 'v1' doesn't exist for dataset 'a/b' on the Hub."),
            "has no revision 'v1'",
        ),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "--revision refs/convert/parquet"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"), "cannot be reached; is this"),
        (ValueError("Found metadata files with different extensions"), r"\(Found metadata files with different ext"),
        (ValueError("strange\nand long"), r"cannot be loaded as a data set \(strange\)$"),
    ],
)
def test_what_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(ArchiveError, match=rf"^hf://datasets/a/b@v1: .*{message}"):
        open_source("hf://datasets/a/b@v1")
