"""Preparing a corpus: recordings are looked at, everything is counted, and nothing is lost where it fails."""

import csv
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from corpus_fixtures import write_tone
from rich.console import Console

from raclap.corpora import preparation
from raclap.corpora.listing import Entry, LeftOut
from raclap.corpora.preparation import READERS, Account, Summary, options_of, prepare, summarise
from raclap.corpora.probing import Found, probe
from raclap.data.manifest import Caption, Pair, read_manifest
from raclap.errors import AudioError, ManifestError, RaClapError, RecipeError


def pair(pair_id: str, audio: str | None = None, **fields: Any) -> Pair:
    values = {"corpus": "c", "split": "train", "captions": (Caption(f"Voice of {pair_id}."),), **fields}
    return Pair(pair_id, audio or f"{pair_id}.wav", **values)


def run(root: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, **options: Any) -> Summary:
    """Prepares a corpus whose reader yields these entries."""

    def read(root: Path, skip_bad: bool = False) -> Iterator[Entry]:
        yield from entries

    monkeypatch.setitem(READERS, "mine", read)
    options = {"console": Console(file=StringIO(), width=200), **options}
    return prepare("mine", root, root / "out" / "m.parquet", **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, seconds in (("a", 0.5), ("b", 1.0), ("c", 1.5)):
        write_tone(tmp_path / "corpus" / f"{name}.wav", seconds)
    return tmp_path / "corpus"


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


# What is counted


def test_everything_is_counted(root: Path, monkeypatch: pytest.MonkeyPatch):
    same = (Caption("A calm voice."), Caption("Calm."))
    entries = [
        pair("a", speaker="ann", captions=same, licence="CC0"),
        LeftOut("x.wav", "it is song"),
        pair("b", speaker="ann", captions=(*same, Caption("Another.")), licence="CC BY 4.0"),
        pair("c", speaker="bob", split="test", start=0.25, end=1.0),
        LeftOut("y.wav", "it is song"),
    ]
    output = StringIO()
    summary = run(root, entries, monkeypatch, console=Console(file=output, width=200))
    assert list(read_manifest(summary.manifest)) == [entry for entry in entries if isinstance(entry, Pair)]
    train, test = summary.splits["train"], summary.splits["test"]
    assert (train.pairs, train.speakers, train.captions, train.repeated_captions) == (2, 1, 5, 4)
    assert (test.pairs, test.speakers, test.captions, test.repeated_captions) == (1, 1, 1, 0)
    assert train.hours == pytest.approx(1.5 / 3600) and test.hours == pytest.approx(0.75 / 3600)
    assert summary.licences == ("CC BY 4.0", "CC0")
    assert summary.left_out == {"it is song": (2, ("x.wav", "y.wav"))}
    assert rows_of(summary.left_out_list) == [["where", "reason"], ["x.wav", "it is song"], ["y.wav", "it is song"]]
    for said in ("Licence: CC BY 4.0, CC0", "Left out, it is song: x.wav, y.wav", str(summary.left_out_list)):
        assert said in output.getvalue()
    again = summarise(read_manifest(summary.manifest))
    assert again.splits == summary.splits and again.licences == summary.licences


def test_a_table_that_is_wrong_in_every_row_does_not_flood_the_account(root: Path, monkeypatch: pytest.MonkeyPatch):
    entries: list[Entry] = [pair("a"), *(LeftOut(f"row {number}", f"reason {number}") for number in range(500))]
    summary = run(root, entries, monkeypatch)
    assert len(summary.left_out) == 21
    assert summary.left_out["reason 3"] == (1, ("row 3",))
    assert summary.left_out["other reasons"] == (480, ("row 20", "row 21", "row 22"))
    assert len(rows_of(summary.left_out_list)) == 501


def test_no_list_is_left_where_nothing_was_left_out(root: Path, monkeypatch: pytest.MonkeyPatch):
    assert run(root, [pair("a"), LeftOut("x.wav", "song")], monkeypatch).left_out_list.is_file()
    summary = run(root, [pair("a")], monkeypatch)
    assert summary.left_out_list is None
    assert [path.name for path in summary.manifest.parent.iterdir()] == ["m.parquet"]


# Identifiers


def test_repeated_identifiers_are_an_error_or_counted(root: Path, monkeypatch: pytest.MonkeyPatch):
    entries = [pair("a"), pair("b"), pair("a", "c.wav")]
    with pytest.raises(ManifestError, match="pair_id 'a' stands in more than one row"):
        run(root, entries, monkeypatch)
    summary = run(root, entries, monkeypatch, skip_bad=True)
    assert [own.audio for own in read_manifest(summary.manifest)] == ["a.wav", "b.wav"]
    assert summary.left_out == {"its pair_id was there before": (1, ("c.wav, a",))}


def test_identifiers_are_remembered_however_many_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation.SeenIds, "_NEWEST", 64)
    seen = preparation.SeenIds()
    assert all(seen.add(f"id {number}") for number in range(1000))
    assert not any(seen.add(f"id {number}") for number in range(1000))
    assert seen.add("another")


# Recordings


def spoil(root: Path, kind: str) -> str:
    """Makes a bad recording and returns its path."""
    path = write_tone(root / "bad.wav")
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "text":
        path.write_text("no audio")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "link":
        path.rename(root.parent / "elsewhere.wav")
        path.symlink_to(root.parent / "elsewhere.wav")
    elif kind == "link to a folder":
        path.unlink()
        write_tone(root.parent / "outside" / "bad.wav")
        (root / "inside").symlink_to(root.parent / "outside")
        return "inside/bad.wav"
    elif kind == "climbing":
        path.rename(root.parent / "elsewhere.wav")
        return "../elsewhere.wav"
    elif kind == "absolute":
        return "/etc/hostname"
    elif kind == "circle":
        path.unlink()
        path.symlink_to(path)
    elif kind == "long name":
        return f"{'x' * 300}.wav"
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    return "bad.wav"


KINDS = [
    ("missing", "no such audio file", ("header", "exists")),
    ("empty", "", ("header",)),
    ("truncated", "", ("header",)),
    ("text", "not a readable audio file|not recognised", ("header",)),
    ("folder", "a folder; expected a recording", ("header", "exists")),
    ("link", "leaves the audio root", ("header", "exists")),
    ("link to a folder", "leaves the audio root", ("header", "exists")),
    ("climbing", "leaves the audio root", ("header", "exists")),
    ("absolute", "leaves the audio root", ("header", "exists")),
    ("circle", "cannot be looked for|no such audio file", ("header", "exists")),
    ("long name", "cannot be looked for", ("header", "exists")),
    ("pipe", "no such audio file", ("header", "exists")),
]


@pytest.mark.parametrize(("kind", "message", "checks"), KINDS)
def test_bad_recordings_are_named_or_counted(
    root: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str, checks: tuple[str, ...]
):
    audio = spoil(root, kind)
    entries = [pair("a"), pair("bad one", audio), pair("c")]
    for check in checks:
        with pytest.raises(AudioError, match=f"row bad one: .*({message}).*--skip-bad leaves such rows out"):
            run(root, entries, monkeypatch, audio_check=check)
        summary = run(root, entries, monkeypatch, audio_check=check, skip_bad=True)
        assert [own.pair_id for own in read_manifest(summary.manifest)] == ["a", "c"]
        ((reason, (count, places)),) = summary.left_out.items()
        assert (count, places) == (1, (audio,)) and str(root) not in reason.replace("root " + str(root), "")


def test_equal_reasons_are_counted_together(root: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("x.wav", "y.flac", "z.wav"):
        (root / name).write_bytes(b"")
    summary = run(root, [pair("a"), pair("x"), pair("y"), pair("z")], monkeypatch, skip_bad=True)
    ((count, places),) = summary.left_out.values()
    assert (count, places) == (3, ("x.wav", "y.wav", "z.wav"))


@pytest.mark.parametrize(("check", "bad"), [("header", {"missing", "text"}), ("exists", {"missing"}), ("none", set())])
def test_how_much_is_looked_at_can_be_chosen(root: Path, monkeypatch: pytest.MonkeyPatch, check: str, bad: set[str]):
    (root / "text.wav").write_text("no audio")
    entries = [pair("a"), pair("missing"), pair("text"), pair("b", end=0.5)]
    summary = run(root, entries, monkeypatch, audio_check=check, skip_bad=True)
    assert {"a", "b", "missing", "text"} - {own.pair_id for own in read_manifest(summary.manifest)} == bad
    assert (summary.splits["train"].hours is None) == (check != "header")


def test_hours_are_known_unopened_where_every_row_says_them(root: Path, monkeypatch: pytest.MonkeyPatch):
    entries = [pair("a", end=0.25), pair("b", start=0.5, end=1.0)]
    summary = run(root, entries, monkeypatch, audio_check="none")
    assert summary.splits["train"].hours == pytest.approx(0.75 / 3600)


@pytest.mark.parametrize(
    ("released", "kept", "expected"),
    [
        ("x.wav", "x.flac", "x.flac"),
        ("sub/x.flac", "sub/x.mp3", "sub/x.mp3"),
        ("x.WAV", "x.wav", "x.wav"),
        ("x", "x.wav", "x.wav"),
        ("x.1.y", "x.1.y.flac", "x.1.y.flac"),
        ("x.1.wav", "x.1.flac", "x.1.flac"),
    ],
)
@pytest.mark.parametrize("check", ["header", "exists"])
def test_recordings_are_found_in_other_formats(
    root: Path, monkeypatch: pytest.MonkeyPatch, released: str, kept: str, expected: str, check: str
):
    write_tone(root / kept)
    summary = run(root, [pair("a", released)], monkeypatch, audio_check=check)
    assert [own.audio for own in read_manifest(summary.manifest)] == [expected]


@pytest.mark.parametrize(
    ("start", "end", "checks"),
    [
        (0.0, 0.6, ("header",)),
        (0.5, None, ("header",)),
        (0.3, 0.2, ("header", "exists", "none")),
        (0.2, 0.2, ("header", "exists", "none")),
        (-0.1, None, ("header", "exists", "none")),
        (None, -1.0, ("header", "exists", "none")),
    ],
)
def test_a_stretch_lies_in_its_recording(
    root: Path, monkeypatch: pytest.MonkeyPatch, start: float | None, end: float | None, checks: tuple[str, ...]
):
    for check in checks:
        with pytest.raises(AudioError, match=rf"row a: .*a\.wav: {start or 0.0} to .* s is not a stretch"):
            run(root, [pair("a", start=start, end=end)], monkeypatch, audio_check=check)
    assert len(read_manifest(run(root, [pair("a", start=0.1, end=0.505)], monkeypatch).manifest)) == 1, "a rounding"


def test_order_is_kept_and_reading_goes_on_only_as_far_as_is_needed(root: Path):
    read = []

    def entries() -> Iterator[Entry]:
        for number in range(5000):
            read.append(number)
            yield LeftOut(f"{number}", "x") if number % 3 else pair(f"{number}", "a.wav")

    found = probe(entries(), root, "exists")
    first = [next(found) for _ in range(10)]
    assert [entry.pair.pair_id if isinstance(entry, Found) else entry.where for entry in first] == list("0123456789")
    assert len(read) <= 1024


# What fails leaves what was there


def test_an_empty_result_keeps_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch):
    before = run(root, [pair("a"), LeftOut("x.wav", "song")], monkeypatch)
    for entries in ([], [LeftOut("y.wav", "it is song"), LeftOut("z.wav", "it is song")]):
        with pytest.raises(
            ManifestError, match=r"no pair is left; (left out, it is song: y\.wav, z\.wav|none was found)"
        ):
            run(root, entries, monkeypatch)
        assert len(read_manifest(before.manifest)) == 1
        assert rows_of(before.left_out_list)[1:] == [["x.wav", "song"]]
        assert len(list(before.manifest.parent.iterdir())) == 2, "nothing is left beside them"


def test_a_failure_in_the_middle_keeps_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch):
    before = run(root, [pair("a")], monkeypatch)
    with pytest.raises(AudioError):
        run(root, [pair("b"), pair("missing")], monkeypatch)
    with pytest.raises(ManifestError, match="split is not one of"):
        run(root, [pair("b"), pair("c", split="dev")], monkeypatch)
    with pytest.raises(ManifestError, match="column 'speaker' holds what is not string"):
        run(root, [pair("b", speaker=7)], monkeypatch)
    with pytest.raises(ManifestError, match=r"column 'captions' holds what is not .*surrogates not allowed"):
        run(root, [pair("b", captions=(Caption("\ud800"),))], monkeypatch)
    assert [own.pair_id for own in read_manifest(before.manifest)] == ["a"]
    assert [path.name for path in before.manifest.parent.iterdir()] == ["m.parquet"]


@pytest.mark.parametrize(
    ("corpus", "root", "output", "options", "error", "message"),
    [
        ("nothing", ".", "m.parquet", {}, RecipeError, "no corpus 'nothing'; known are audio_folder"),
        ("ravdess", ".", "m.parquet", {"columns": {}}, RecipeError, "prepare ravdess: no option 'columns'; it has"),
        ("ravdess", "absent", "m.parquet", {}, ManifestError, "absent: no such folder$"),
        ("table", "absent.csv", "m.parquet", {}, ManifestError, r"absent\.csv: no such folder or table"),
        ("hub", "a/b", "m.parquet", {}, RecipeError, "a/b is no folder: --extract-to, or --audio-root"),
        ("table", "t.csv", "t.csv", {}, ManifestError, "the manifest would replace the table"),
        ("table", "t.csv", ".", {}, ManifestError, "a folder; expected the path of the manifest"),
        ("table", "t.csv", "m.parquet", {"audio_root": Path("/nowhere")}, ManifestError, "no such folder of audio"),
        (
            "webdataset",
            "t.tar",
            "m.parquet",
            {"extract_to": Path("t.csv")},
            ManifestError,
            "a file; expected a folder",
        ),
    ],
)
def test_paths_and_names_are_checked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str, root: str, output: str, options: dict[str, Any],
    error: type[RaClapError], message: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("path,caption\n", encoding="utf-8")
    with pytest.raises(error, match=message):
        prepare(corpus, Path(root), Path(output), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_what_readers_take_is_known():
    assert {"columns", "attributes", "audio_root", "captions"} <= options_of("table").keys()
    assert "root" not in options_of("table") and "skip_bad" not in options_of("table")


def test_repeated_captions_are_counted_over_all_rows():
    account = Account()
    found = (Found(pair(f"{number}", "a.wav", captions=(Caption(f"{number % 2}"),)), 1.0) for number in range(1000))
    assert sum(1 for _ in account.following(found)) == 1000
    summary = account.summary("c", Path("m.parquet"))
    assert (summary.splits["train"].repeated_captions, summary.splits["train"].hours) == (1000, pytest.approx(1 / 3.6))
