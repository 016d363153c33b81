"""Answers: nothing that others wrote is obeyed by a spreadsheet, a terminal, a browser or a file system."""

import base64
import csv
import io
import json

import numpy as np
import pytest
import soundfile
from rich.console import Console

from conftest import RATE, tone
from raclap.archive.answers import Answer, as_csv, as_json, print_table
from raclap.archive.clips import export_moment
from raclap.archive.moments import Moment
from raclap.archive.queries import Query
from raclap.archive.search_page import collect_sound, render_search_page
from raclap.errors import AudioError

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def archive(tmp_path):
    """Two recordings of 30 s, one below a folder: 10 s each of 120, 240 and 480 Hz."""
    rng = np.random.default_rng(0)
    sound = np.concatenate([tone(pitch, 0.5, 10.0, rng) for pitch in (120.0, 240.0, 480.0)])
    (tmp_path / "root" / "sub").mkdir(parents=True)
    for name in ("a.wav", "sub/b.flac"):
        soundfile.write(tmp_path / "root" / name, sound, RATE, subtype="PCM_16")
    return tmp_path / "root"


def moment(recording, root, start=10.0, end=20.0, score=0.5, **more):
    return Moment(recording, str(root), start, end, score, start, min(end, start + 10), **more)


def answer(*moments, text="a man", **more):
    return Answer(Query(text, **more), moments, {})


def pitch_of(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.fft.rfftfreq(len(samples), 1 / RATE)[spectrum.argmax()]


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_computes_nothing(text, archive):
    found = as_csv([answer(moment(text, archive, score=-0.25, facts={"caption": text}), text=text, id=text)])
    (row,) = csv.DictReader(io.StringIO(found, newline=""))
    assert [row[name] for name in ("query_id", "query", "recording", "caption")] == [f"'{text}"] * 4
    assert float(row["score"]) == -0.25
    assert row["is_there"] == "false"


def test_json_says_all(archive):
    one = moment("a.wav", archive, duplicates=(("b.wav", 1.0, 2.0),), facts={"sex": "female"}, probability=0.75)
    ((found,),) = [own["moments"] for own in json.loads(as_json([answer(one)]))]
    assert found["rank"] == 1
    assert (found["start"], found["end"], found["probability"]) == (10.0, 20.0, 0.75)
    assert found["duplicates"] == [{"recording": "b.wav", "start": 1.0, "end": 2.0}]
    assert found["facts"] == {"sex": "female"}
    assert found["is_there"] is True
    assert "percentile" not in found


def test_a_terminal_obeys_nothing(archive):
    stream = io.StringIO()
    evil = moment("\x1b]0;owned\x07[bold].wav", archive, duplicates=(("\x1b[2J.wav", 0.0, 1.0),))
    print_table([answer(evil, text="\x1b[31ma man"), answer()], Console(file=stream))
    shown = stream.getvalue()
    assert "\x1b" not in shown and "\x07" not in shown
    assert "[bold].wav" in shown
    assert "no longer there" in shown and "also" in shown
    assert "no moment found" in shown


def test_a_page_shows_what_it_is_given_as_text(archive):
    evil = moment(EVIL, archive, facts={"caption": EVIL, "speaker": EVIL}, duplicates=((EVIL, 0.0, 1.0),))
    answers = [answer(evil, text=EVIL, id=EVIL), answer(text='" onload="x')]
    page = render_search_page(answers, collect_sound(answers, RATE), {"index": EVIL})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert '" onload="x' not in page.replace("&#34;", "~")
    assert "http://" not in page and "https://" not in page
    assert "cannot be read" in page


def test_a_page_plays_the_moment(archive):
    answers = [
        answer(moment("a.wav", archive, probability=0.75, percentile=99.0), moment("sub/b.flac", archive, 0, 30))
    ]
    page = render_search_page(answers, collect_sound(answers, RATE), {})
    first, second = (
        soundfile.read(io.BytesIO(base64.b64decode(part.partition('"')[0])))[0]
        for part in page.split("data:audio/mpeg;base64,")[1:]
    )
    assert pitch_of(first) == pytest.approx(240, abs=3)
    assert len(first) / RATE == pytest.approx(10, abs=0.2)
    assert pitch_of(second) == pytest.approx(120, abs=3)
    assert "width:75.0%" in page and "75 %" in page and "width:50.0%" in page
    assert page.count("an excerpt") == 1


def test_a_page_has_only_so_much_room(archive):
    answers = [answer(*(moment("a.wav", archive, float(start), start + 5.0) for start in range(5)))]
    everything = collect_sound(answers, RATE)
    assert len(everything.excerpts) == 5
    assert len(collect_sound(answers, RATE, players=2).excerpts) == 2
    room = sum(len(excerpt.data) for excerpt in list(everything.excerpts.values())[:2])
    assert len(collect_sound(answers, RATE, most_bytes=room).excerpts) == 2


def test_the_best_of_every_query_is_heard_first(archive):
    answers = [answer(moment("a.wav", archive, 0), moment("a.wav", archive, 1)), answer(moment("a.wav", archive, 2))]
    assert list(collect_sound(answers, RATE, players=2).excerpts) == [(0, 0), (1, 0)]


def test_a_moment_is_written_as_it_is_stored(archive, tmp_path):
    target = export_moment(moment("sub/b.flac", archive), tmp_path / "out", "001")
    assert target == tmp_path / "out" / "001-sub_b.flac-10.00-20.00.flac"
    stored, _ = soundfile.read(archive / "sub" / "b.flac", dtype="int16")
    written, rate = soundfile.read(target, dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(written, stored[10 * RATE : 20 * RATE])
    assert [path.name for path in (tmp_path / "out").iterdir()] == [target.name]


def test_names_never_leave_the_folder(archive, tmp_path):
    name = "..\\..\\ü" + "x" * 200 + ".wav"
    (archive / name).write_bytes((archive / "a.wav").read_bytes())
    target = export_moment(moment(name, archive), tmp_path / "out", "001")
    assert target.parent == tmp_path / "out"
    assert len(target.name) < 130 and "\\" not in target.name
    assert target.is_file()


@pytest.mark.parametrize("recording", ["../outside.wav", "gone.wav", "link.wav", "text.wav"])
def test_what_cannot_be_read_is_told_and_nothing_is_left(recording, archive, tmp_path):
    (tmp_path / "outside.wav").write_bytes((archive / "a.wav").read_bytes())
    (archive / "link.wav").symlink_to(tmp_path / "outside.wav")
    (archive / "text.wav").write_text("no sound")
    with pytest.raises(AudioError):
        export_moment(moment(recording, archive), tmp_path / "out", "001")
    assert not list(tmp_path.glob("out/*"))
    answers = [answer(moment(recording, archive), moment("a.wav", archive))]
    sound = collect_sound(answers, RATE)
    assert list(sound.missing) == [(0, 0)]
    assert list(sound.excerpts) == [(0, 1)]


def test_a_recording_that_became_shorter(archive, tmp_path):
    with pytest.raises(AudioError, match="no longer a stretch of it"):
        export_moment(moment("a.wav", archive, 40.0, 50.0), tmp_path / "out", "001")
