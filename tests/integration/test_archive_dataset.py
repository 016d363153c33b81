"""Data sets as archives: indexed, brought up to date, searched by their columns, heard again; also from a Hub."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

import loopback_hub
from conftest import RATE, tone
from loopback_hub import LoopbackHub, Stored
from raclap.archive import embedding
from raclap.archive.dataset_address import DatasetOptions
from raclap.archive.facts import ArchiveError
from raclap.archive.indexing import IndexReport, IndexSettings, index_archive
from raclap.archive.store import ArchiveIndex
from raclap.cli import main
from raclap.retrieval.embed import embed_waveforms

SETTINGS = IndexSettings(window_seconds=0.5, hop_seconds=0.25, commit_seconds=0.0)
Told = tuple[int, str, str]


def sound(pitch: float, seconds: float = 0.4) -> bytes:
    import io

    file = io.BytesIO()
    soundfile.write(file, tone(pitch, 0.3, seconds, np.random.default_rng(int(pitch))), RATE, format="FLAC")
    return file.getvalue()


def row(pitch: float, path: str | None, mood: str | None = None, noise: float = 0.0) -> dict[str, Any]:
    return {"audio": {"bytes": sound(pitch), "path": path}, "mood": mood, "noise": noise}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    """A Parquet file as `push_to_hub` writes it, two rows a row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(list(rows))
    kinds = {**table.features, "audio": datasets.Audio()}
    table.cast(datasets.Features({name: kinds[name] for name in table.column_names})).to_parquet(path, 2)
    return path


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    calm = [row(100 + 20 * n, f"calm/{n}.flac", "calm", n) for n in range(3)]
    write(folder / "data" / "train-00000-of-00002.parquet", *calm)
    write(
        folder / "data" / "train-00001-of-00002.parquet", row(300, "300.flac", "angry"), row(320, "320.flac", "angry")
    )
    write(folder / "data" / "test-00000-of-00001.parquet", row(400, "400.flac"), {**row(1, "bad.flac"), "audio": None})
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def run(source: Path, index: Path, model: Path, **options: Any) -> IndexReport:
    return index_archive(source, index, model, SETTINGS, progress=False, dataset=DatasetOptions(**options))


def contents(index: Path) -> dict[str, dict[str, Any]]:
    """What an index says of the first window of each recording, with its vector."""
    archive = ArchiveIndex.open(index)
    rows = archive.rows(range(archive.windows)).to_pylist()
    vectors = archive.vectors().astype(np.float32)
    return {own["recording"]: {**own, "vector": vector} for own, vector in zip(rows, vectors, strict=True)}


def unreadable(index: Path) -> dict[str, str]:
    lines = (index / "unreadable.jsonl").read_text().splitlines()
    return {line["recording"]: line["reason"] for line in map(json.loads, lines)}


def assert_same(index: Path, afresh: Path) -> None:
    one, other = contents(index), contents(afresh)
    assert one.keys() == other.keys()
    for name, own in one.items():
        vector, expected = own.pop("vector"), other[name].pop("vector")
        assert own == other[name]
        assert np.abs(vector - expected).max() < 2e-3


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Told]:
    """Runs `raclap search`: exit status, standard output and standard error."""

    def search(*arguments: Any) -> Told:
        monkeypatch.setattr(sys, "argv", ["raclap", "search", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code
        told = capsys.readouterr()
        return status, told.out, told.err

    return search


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that the model is asked to embed."""
    sizes: list[int] = []

    def counting(model: object, processor: object, waveforms: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(waveforms))
        return embed_waveforms(model, processor, waveforms)

    monkeypatch.setattr(embedding, "embed_waveforms", counting)
    return sizes


def test_vectors_and_columns_are_those_of_the_rows(
    voices: Path, index: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    report = run(voices, index, teacher_folder)
    assert (report.embedded, report.unreadable) == (6, 1)
    assert unreadable(index) == {"test/00000/000001": "there is no recording in its row"}
    found = contents(index)
    assert found["train/calm/2.flac"]["noise"] == 2.0 and found["train/300.flac"]["mood"] == "angry"
    assert (found["test/400.flac"]["mood"], found["test/400.flac"]["split"]) == (None, "test")
    (tmp_path / "files").mkdir()
    for name in found:
        pitch = {"0": 100, "1": 120, "2": 140}.get(Path(name).stem) or int(Path(name).stem)
        (tmp_path / "files" / f"{name.replace('/', '-')}").write_bytes(sound(pitch))
    index_archive(tmp_path / "files", tmp_path / "of files", teacher_folder, SETTINGS, progress=False)
    for name, own in contents(tmp_path / "of files").items():
        same = next(row for known, row in found.items() if known.replace("/", "-") == name)
        assert np.abs(own["vector"] - same["vector"]).max() < 2e-3 and own["sha256"] == same["sha256"]


def test_only_what_has_changed_is_read_and_embedded_again(
    voices: Path, index: Path, teacher_folder: Path, tmp_path: Path, batches: list[int]
) -> None:
    run(voices, index, teacher_folder)
    version = ArchiveIndex.open(index).version
    batches.clear()
    assert run(voices, index, teacher_folder).kept == 6 and not batches
    assert ArchiveIndex.open(index).version == version
    # In the first file one row is new, one has another sound, one says something else and one is gone.
    write(
        voices / "data" / "train-00000-of-00002.parquet",
        row(100, "calm/0.flac", "bored", 7), row(500, "calm/1.flac", "calm", 1), row(600, "new.flac", "calm"),
    )  # fmt: skip
    report = run(voices, index, teacher_folder)
    assert (report.embedded, report.carried_over, report.kept, report.dropped) == (2, 1, 3, 1)
    assert sum(batches) == 2
    run(voices, tmp_path / "afresh", teacher_folder)
    assert_same(index, tmp_path / "afresh")
    # Files of other names, with the same rows in them.
    for path in (voices / "data").glob("*-of-00002.parquet"):
        path.rename(path.with_name(path.name.replace("of-00002", "of-2")))
    assert run(voices, index, teacher_folder).embedded == 0


def test_rows_without_names_are_known_by_their_sound(
    index: Path, teacher_folder: Path, tmp_path: Path, batches: list[int]
) -> None:
    file = tmp_path / "rows" / "train.parquet"
    pitches = [100, 200, 300, 400]
    write(file, *(row(pitch, None, str(pitch)) for pitch in pitches))
    run(file.parent, index, teacher_folder)
    batches.clear()
    write(file, *(row(pitch, "audio.flac", str(pitch)) for pitch in (50, *pitches[1:])))
    report = run(file.parent, index, teacher_folder)
    assert (report.embedded, report.carried_over, sum(batches)) == (1, 3, 1)
    assert {name: own["mood"] for name, own in contents(index).items()} == {
        "train/audio.flac": "50", "train/00000/000001": "200", "train/00000/000002": "300",
        "train/00000/000003": "400",
    }  # fmt: skip
    write(file, *(row(pitch, "audio.flac", str(pitch)) for pitch in reversed(pitches[1:])))
    assert run(file.parent, index, teacher_folder).embedded == 0
    run(file.parent, tmp_path / "afresh", teacher_folder)
    assert_same(index, tmp_path / "afresh")


def test_what_was_stopped_goes_on(
    voices: Path, index: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_FIRST_POOL_SECONDS", 0.0)
    monkeypatch.setattr(embedding.WindowEmbedder, "_next_pool", lambda self, speed: 0.0)
    calls = []

    def dying(*words: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed_waveforms(*words)

    monkeypatch.setattr(embedding, "embed_waveforms", dying)
    with pytest.raises(KeyboardInterrupt):
        run(voices, index, teacher_folder)
    there = len(contents(index))
    report = run(voices, index, teacher_folder)
    assert 0 < there < 6 and (report.kept, report.embedded) == (there, 6 - there)


def test_a_split_alone_leaves_the_others_as_they_are(voices: Path, index: Path, teacher_folder: Path) -> None:
    assert run(voices, index, teacher_folder, splits=("test",)).embedded == 1
    report = run(voices, index, teacher_folder, splits=("train",))
    assert (report.embedded, report.dropped) == (5, 0) and len(contents(index)) == 6
    (voices / "data" / "test-00000-of-00001.parquet").unlink()
    assert run(voices, index, teacher_folder, splits=("train",)).dropped == 0
    assert run(voices, index, teacher_folder).dropped == 1


def test_a_damaged_file_loses_nothing(voices: Path, index: Path, teacher_folder: Path) -> None:
    run(voices, index, teacher_folder)
    file = voices / "data" / "train-00001-of-00002.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    report = run(voices, index, teacher_folder)
    assert (report.kept, report.dropped) == (4, 0) and len(contents(index)) == 6
    assert "data/train-00001-of-00002.parquet cannot be read" in unreadable(index)["train/"]
    file.write_bytes(whole)
    report = run(voices, index, teacher_folder)
    assert (report.embedded, report.carried_over, report.kept) == (0, 2, 4)


def test_several_sources_share_an_index_and_its_columns(
    voices: Path, index: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.flac").write_bytes(sound(700))
    index_archive(tmp_path / "files", index, teacher_folder, SETTINGS, progress=False)
    run(voices, index, teacher_folder)
    other = tmp_path / "other"
    write(other / "a.parquet", {**row(800, "a.flac", "calm"), "loud": True})
    run(other, index, teacher_folder)
    assert run(voices, index, teacher_folder).kept == 6
    assert index_archive(tmp_path / "files", index, teacher_folder, SETTINGS, progress=False).kept == 1
    found = contents(index)
    assert (found["a.flac"]["mood"], found["train/a.flac"]["loud"], found["train/300.flac"]["loud"]) == (
        None,
        True,
        None,
    )
    write(other / "a.parquet", {**row(800, "a.flac", "calm"), "loud": "very"})
    with pytest.raises(ArchiveError, match="its column 'loud' holds bool, that of the data set string; name another"):
        run(other, index, teacher_folder)
    assert contents(index).keys() == found.keys()


def test_moments_are_found_by_columns_and_heard(
    voices: Path, index: Path, teacher_folder: Path, tmp_path: Path, search: Callable[..., Told]
) -> None:
    write(voices / "data" / "long-00000-of-00001.parquet",
          {**row(1, "long.flac", "calm", 9), "audio": {"bytes": sound(250, 2.0), "path": "long.flac"}})  # fmt: skip
    run(voices, index, teacher_folder)
    clips, page, table = tmp_path / "clips", tmp_path / "page.html", tmp_path / "found.csv"
    where = ("--where", "mood = 'calm' and noise >= 1.5")
    _, out, _ = search(
        index, "a low voice", *where, "--no-merge", "-k", 99, "--format", "json", "--export-clips", clips
    )
    moments = json.loads(out)[0]["moments"]
    assert {moment["recording"] for moment in moments} == {"train/calm/2.flac", "long/long.flac"}
    assert all(moment["is_there"] and moment["facts"]["noise"] >= 2 for moment in moments)
    for moment in moments:
        heard, rate = soundfile.read(moment["clip"], dtype="int16")
        samples, _ = soundfile.read(voices.parent / _file(tmp_path, moment["recording"]), dtype="int16")
        assert rate == RATE
        assert np.array_equal(heard, samples[round(moment["start"] * RATE) : round(moment["end"] * RATE)])
    search(index, "a low voice", "-k", 3, "--output", page)
    assert page.read_text().count("data:audio/mpeg") == 3
    search(index, "a low voice", "-k", 3, "--output", table)
    assert {"mood", "noise", "dataset_row"} <= next(csv.DictReader(table.open())).keys()
    status, _, err = search(index, "a low voice", "--where", "moood = 'calm'")
    assert status == 2 and "did you mean 'mood'" in err


def _file(folder: Path, recording: str) -> Path:
    path = folder / "heard.flac"
    path.write_bytes(sound(250, 2.0) if recording.startswith("long") else sound(140))
    return path


def test_rows_that_vanished_or_changed_since(
    voices: Path, index: Path, teacher_folder: Path, tmp_path: Path, search: Callable[..., Told]
) -> None:
    run(voices, index, teacher_folder)
    write(voices / "data" / "train-00001-of-00002.parquet", row(310, "300.flac", "angry"))
    (voices / "data" / "test-00000-of-00001.parquet").unlink()
    where = ("--where", "mood = 'angry' or split = 'test'")
    status, out, err = search(index, "a voice", *where, "--format", "json", "--export-clips", tmp_path / "clips")
    assert status == 0 and not list((tmp_path / "clips").glob("*"))
    assert "the sound of 3 recordings cannot be read" in err
    assert "train/300.flac: its row has changed since it was indexed; run raclap index again" in err
    assert "there is no recording in this row any more" in err
    there = {moment["recording"]: moment["is_there"] for moment in json.loads(out)[0]["moments"]}
    assert there == {"train/300.flac": True, "train/320.flac": True, "test/400.flac": False}


def test_a_data_set_of_the_hub(voices: Path, teacher_folder: Path, tmp_path: Path) -> None:
    """One process: the Hub's client reads its address once."""
    script = tmp_path / "script.py"
    script.write_text(ON_HUB)
    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loopback_hub, "_route", _noting(asked := []))
        push(hub, voices)
        changed = {"train-00001-of-00002": [row(330, "330.flac", "angry")]}
        with subprocess.Popen(
            [sys.executable, str(script), str(teacher_folder), str(tmp_path)],
            env={**_environment(tmp_path), "HF_ENDPOINT": hub.url}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        ) as process:  # fmt: skip
            assert process.stdout.readline() == "6 embedded\n"
            assert process.stdout.readline() == "6 kept\n"
            for name, rows in changed.items():
                write(voices / "data" / f"{name}.parquet", *rows)
            push(hub, voices)
            asked.clear()
            process.stdin.write("pushed\n")
            process.stdin.flush()
            assert process.stdout.readline() == "1 embedded, 4 kept, 2 dropped\n"
            fetched = {path.rpartition("/")[2] for path in asked if path.endswith(".parquet")}
            rest, _ = process.communicate(timeout=120)
        assert process.returncode == 0, rest
    assert "train-00001-of-00002.parquet" in fetched
    told = json.loads(rest)
    assert told["clips"] == 2 and told["revisions"] == 2, "rows that stayed are read at the commit that had them"
    assert told["splits"] == "hf://datasets/somebody/voices: has no split 'dev'; there are train, test (--split)"
    assert "there is no such data set on the Hub" in told["absent"] and "has no revision 'v9'" in told["revision"]


def push(hub: LoopbackHub, folder: Path) -> None:
    repository = hub.repositories.get("somebody/voices") or hub.repository("somebody/voices")
    files = {
        path.relative_to(folder).as_posix(): Stored(path.read_bytes(), True) for path in folder.rglob("*.parquet")
    }
    repository.add("main", "rows", files)


def _noting(asked: list[str]) -> Callable[[str, str], Any]:
    route = loopback_hub._route

    def noting(method: str, path: str) -> Any:
        asked.append(path)
        return route(method, path)

    return noting


def _environment(folder: Path) -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    return {**kept, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home")}


ON_HUB = """
import json, sys
from pathlib import Path
from raclap.archive.clips import export_moment
from raclap.archive.dataset_address import DatasetOptions
from raclap.archive.facts import ArchiveError
from raclap.archive.indexing import IndexSettings, index_archive
from raclap.archive.searching import ArchiveSearch
from raclap.archive.source_opening import open_source
from raclap.errors import AudioError

model, folder = Path(sys.argv[1]), Path(sys.argv[2])
name, index = "hf://datasets/somebody/voices", folder / "of hub"

def run():
    return index_archive(name, index, model, IndexSettings(0.5, 0.25), progress=False)

def refused(source, **options):
    try:
        open_source(source, dataset=DatasetOptions(**options))
    except ArchiveError as error:
        return str(error)

print(run().embedded, "embedded", flush=True)
print(run().kept, "kept", flush=True)
sys.stdin.readline()
report = run()
print(f"{report.embedded} embedded, {report.kept} kept, {report.dropped} dropped", flush=True)
moments = ArchiveSearch.open(index).search("a voice", where="mood = 'angry' or noise = 2", k=5)
clips = [export_moment(moment, folder / "of hub clips", str(place)) for place, moment in enumerate(moments)]
told = {
    "clips": len(clips),
    "revisions": len({moment.dataset_row.partition("@")[2].partition("/")[0] for moment in moments}),
    "splits": refused(name, splits=("dev",)),
    "absent": refused("hf://datasets/somebody/nothing"),
    "revision": refused(name, revision="v9"),
}
print(json.dumps(told))
"""
