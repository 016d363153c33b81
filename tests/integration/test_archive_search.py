"""`raclap search` as it is used: from recordings to answers, and a sentence for whatever is wrong."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from conftest import RATE, tone
from raclap.archive.facts import ArchiveError
from raclap.archive.indexing import index_archive
from raclap.archive.recipe import IndexSettings
from raclap.cli import main

HOP = 1.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two minutes of low and high tones in turn, a copy of it, and three short recordings."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("archive")
    sound, truth, time = [], [], 0.0
    for place in range(12):
        seconds = rng.uniform(7.0, 13.0)
        pitch = (120.0, 400.0)[place % 2]
        sound.append(tone(pitch, 0.3, seconds, rng))
        truth.append((pitch, time, time + len(sound[-1]) / RATE))
        time = truth[-1][2]
    soundfile.write(folder / "long.flac", np.concatenate(sound), RATE)
    shutil.copy(folder / "long.flac", folder / "=copy.flac")
    for name, pitch in (("low", 120.0), ("middle", 220.0), ("high", 400.0)):
        soundfile.write(folder / f"{name}.wav", tone(pitch, 0.3, 1.5, rng), RATE)
    return folder, truth


@pytest.fixture(scope="module")
def index(tmp_path_factory, archive, teacher_folder):
    path = tmp_path_factory.mktemp("index") / "index"
    index_archive(archive[0], path, teacher_folder, IndexSettings(2.0, HOP), progress=False)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `raclap search`: exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["raclap", "search", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return status, told.out, told.err

    return run


def refused(told, *words):
    """The error is one sentence on one line, with these words in it."""
    status, out, err = told
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert not out
    assert all(word in line for word in words), line


@pytest.mark.parametrize("pitch", [120.0, 400.0])
def test_moments_begin_and_end_where_the_sound_changes(run, archive, index, tmp_path, pitch):
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, tone(pitch, 0.3, 2.0, np.random.default_rng(9)), RATE)
    truth = [(start, end) for own, start, end in archive[1] if own == pitch]
    condition = "recording = 'long.flac'"
    _, out, _ = run(index, "--like", clip, "-k", len(truth), "--where", condition, "--format", "json")
    found = sorted((moment["start"], moment["end"]) for moment in json.loads(out)[0]["moments"])
    assert np.abs(np.array(found) - np.array(truth)).max() <= HOP


def test_every_form_says_the_same(run, index, tmp_path):
    query = ("a low voice", "a loud voice", "-k", 3)
    _, out, _ = run(index, *query, "--format", "json")
    answers = json.loads(out)
    assert [answer["query"]["text"] for answer in answers] == ["a low voice", "a loud voice"]
    _, out, _ = run(index, *query, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    found = [(str(moment["rank"]), moment["recording"]) for answer in answers for moment in answer["moments"]]
    assert [(row["rank"], row["recording"].removeprefix("'")) for row in rows] == found
    assert all(not row["recording"].startswith("=") for row in rows)
    _, out, _ = run(index, *query)
    assert "a loud voice (3 moments)" in out
    run(index, *query, "--output", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<audio") == page.count("data:audio/mpeg") == 6
    assert page.count('class="panel moment"') == 6
    queries = tmp_path / "q.txt"
    queries.write_text("a low voice\na loud voice\n")
    _, out, _ = run(index, "--queries", queries, "-k", 3, "--format", "json")
    assert json.loads(out) == answers


def test_clips_are_written(run, index, tmp_path):
    _, out, _ = run(index, "a low voice", "-k", 3, "--format", "json", "--export-clips", tmp_path / "clips")
    (answer,) = json.loads(out)
    written = sorted((tmp_path / "clips").iterdir())
    assert [moment["clip"] for moment in answer["moments"]] == [str(path) for path in written]
    for moment, path in zip(answer["moments"], written, strict=True):
        assert soundfile.info(path).duration == pytest.approx(moment["end"] - moment["start"], abs=0.01)


def test_a_recording_that_vanished(run, archive, teacher_folder, tmp_path):
    folder = shutil.copytree(archive[0], tmp_path / "archive")
    index_archive(folder, tmp_path / "index", teacher_folder, IndexSettings(2.0, HOP), progress=False)
    (folder / "middle.wav").unlink()
    page, clips = tmp_path / "page.html", tmp_path / "clips"
    every = (tmp_path / "index", "a low voice", "--where", "duration < 1.8")
    status, _, err = run(*every, "--output", page, "--export-clips", clips)
    assert status == 0
    assert "the sound of 1 recording cannot be read" in err
    assert "middle.wav" in err
    assert page.read_text().count("its sound cannot be read") == 1
    assert len(list(clips.iterdir())) == page.read_text().count('class="panel moment"') - 1
    status, out, _ = run(*every)
    assert status == 0
    assert "no longer there" in out


@pytest.fixture
def read_only(index, tmp_path):
    """A copy of the index that nobody may write."""
    copy = shutil.copytree(index, tmp_path / "copy")
    paths = [copy, *copy.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.access(copy, os.W_OK):
        pytest.skip("this user may write whatever its mode is")
    yield copy
    for path in paths:
        path.chmod(0o755)


def test_a_read_only_index_is_searched_and_not_written(run, read_only, index, archive, teacher_folder):
    query = ("a low voice", "-k", 3, "--format", "json")
    assert run(read_only, *query)[:2] == run(index, *query)[:2]
    with pytest.raises(ArchiveError, match="cannot be written, the folder is read-only for this user; the index is"):
        index_archive(archive[0], read_only, teacher_folder, IndexSettings(2.0, HOP), progress=False)
    assert run(read_only, *query)[0] == 0


def test_a_recording_that_is_shorter_now(run, archive, teacher_folder, tmp_path):
    folder = shutil.copytree(archive[0], tmp_path / "archive")
    index_archive(folder, tmp_path / "index", teacher_folder, IndexSettings(2.0, HOP), progress=False)
    sound, rate = soundfile.read(folder / "middle.wav")
    soundfile.write(folder / "middle.wav", sound[: len(sound) // 2], rate)
    query = (tmp_path / "index", "a low voice", "--where", "recording = 'middle.wav'")
    status, _, err = run(*query, "--export-clips", tmp_path / "clips")
    assert status == 0
    assert "middle.wav: 0.00 to 1.50 s is no longer a stretch of it" in err
    assert not list((tmp_path / "clips").iterdir())


def test_what_is_wrong_is_said_in_one_sentence(run, index, tmp_path, archive):
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    refused(run(index, "a" * 10_000), "10,000 characters")
    refused(run(index, " "), "the query is empty")
    refused(run(index, "--like", text), "text.wav", "not a readable audio file")
    refused(run(index, "a voice", "--where", "sexx = 1"), "no column 'sexx'", "did you mean 'sex'")
    refused(run(index, "a voice", "--where", "1=1; drop table moments"), "no single condition")
    refused(run(index, "a voice", "--min-probability", "0.5"), "not calibrated", "raclap calibrate")
    refused(run(index, "a voice", "--duplicates", "7"), "duplicates: 7.0")
    refused(run(index, "a voice", "--format", "html"), "--output PAGE.html")
    refused(run(index, "a voice", "--output", tmp_path / "answer.doc"), "answer.doc", "--format")
    refused(run(index, "a voice", "--output", text / "x.json"), "cannot be written")
    refused(run(index, "a voice", "--export-clips", text), "cannot be written")
    refused(run(tmp_path / "none", "a voice"), "is no index")
    refused(run(archive[0], "a voice"), "is no index")
    refused(run(index, "a voice", "--model", tmp_path), "config.json")


def test_no_hits_are_no_error(run, index):
    status, out, err = run(index, "a voice", "--where", "duration > 1000", "--format", "json")
    assert status == 0
    assert json.loads(out)[0]["moments"] == []
    assert "nothing was found for 1 of 1 queries within --where" in err


def test_an_index_of_another_model(run, index, teacher_folder, tmp_path):
    other = shutil.copytree(teacher_folder, tmp_path / "other")
    weights = other / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused(run(index, "a voice", "--model", other), "other weights")


def test_options_that_do_not_go_together(run, index, tmp_path):
    (tmp_path / "q.txt").write_text("a voice\n")
    status, _, err = run(index, "a voice", "--queries", tmp_path / "q.txt")
    assert status == 2 and "TEXT is of no use with --queries" in err
    status, _, err = run(index)
    assert status == 2 and "nothing to search for" in err
    status, _, err = run(index, "--more", "calm")
    assert status == 2 and "nothing to search for" in err


def test_a_fresh_process(index):
    program = "from raclap.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "search", index, "a low voice", "--format", "json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)[0]["moments"]) == 10
