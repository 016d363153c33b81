"""What holds for the reader of every corpus: its release is read whole, and what is bad is named or counted."""

from io import StringIO
from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES, Release
from rich.console import Console

from raclap.corpora.preparation import READERS, Summary, prepare
from raclap.data.manifest import read_manifest
from raclap.errors import AudioError, ManifestError, RaClapError


def run(corpus: str, release: Release, output: Path, skip_bad: bool = False) -> Summary:
    path = output / "manifest.parquet"
    return prepare(corpus, release.root, path, skip_bad, console=Console(file=StringIO()), **release.options)


def counts(summary: Summary) -> tuple[int, int]:
    """Pairs, and what was left out."""
    return sum(own.pairs for own in summary.splits.values()), sum(count for count, _ in summary.left_out.values())


@pytest.fixture(params=sorted(FIXTURES))
def corpus(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def release(corpus: str, tmp_path: Path) -> Release:
    return FIXTURES[corpus](tmp_path / "release")


def test_every_fixture_has_its_reader(corpus: str):
    assert corpus in READERS


def test_a_release_is_read_whole(corpus: str, release: Release, tmp_path: Path):
    assert counts(run(corpus, release, tmp_path)) == (release.pairs, release.left_out)
    manifest = read_manifest(tmp_path / "manifest.parquet")
    assert len(manifest) == release.pairs
    for pair in manifest:
        assert manifest.audio_path(pair).is_file()
        assert pair.attributes.keys() >= {name for caption in pair.captions for name in caption.names or ()}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lie(path: Path) -> None:
    """A WAV header that promises ten times what there is."""
    samples = path.read_bytes()[44:]
    header = bytearray(path.read_bytes()[:44])
    header[4:8] = (36 + 10 * len(samples)).to_bytes(4, "little")
    header[40:44] = (10 * len(samples)).to_bytes(4, "little")
    path.write_bytes(bytes(header) + samples)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_text(path: Path) -> None:
    path.write_text("no audio")


@pytest.mark.parametrize("spoil", [Path.unlink, truncate, lie, put_folder, empty, replace_by_text])
def test_a_bad_recording_is_named_or_counted(corpus: str, release: Release, tmp_path: Path, spoil):
    if spoil is lie and release.recording.suffix != ".wav":
        pytest.skip("no WAV header")
    spoil(release.recording)
    if release.table is None and not release.recording.is_file():
        pytest.skip("a corpus without a table is what lies there")
    with pytest.raises(AudioError) as raised:
        run(corpus, release, tmp_path)
    assert release.recording.stem in str(raised.value)
    assert counts(run(corpus, release, tmp_path, skip_bad=True)) == (release.pairs - 1, release.left_out + 1)


def test_an_audio_root_that_is_not_there_is_said_so(corpus: str, release: Release, tmp_path: Path):
    if "audio_root" not in release.options:
        pytest.skip("audio lies in the corpus folder")
    release.options["audio_root"] = tmp_path / "absent"
    with pytest.raises(ManifestError, match="absent: no such folder"):
        run(corpus, release, tmp_path)


@pytest.fixture
def table(release: Release) -> Path:
    if release.table is None:
        pytest.skip("no text table")
    return release.table


def other_delimiter(text: str) -> bytes:
    return text.replace(",", ";").encode()


def header_alone(text: str) -> bytes:
    return text.splitlines()[0].encode() + b"\n"


def no_first_column(text: str) -> bytes:
    return text.replace(text.split(",", maxsplit=1)[0], "foreign", 1).encode()


def half_a_row(text: str) -> bytes:
    return text.rstrip("\r\n").rpartition(",")[0].encode()


def latin(text: str) -> bytes:
    return text.encode() + b"\xe9t\xe9\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_delimiter, "separated by a semicolon; expected a comma"),
        (lambda _: b"", "no rows"),
        (header_alone, "no rows"),
        (no_first_column, "no column '.*'; the columns are foreign"),
        (half_a_row, "fields; expected|unexpected end"),
        (latin, "not UTF-8 text"),
    ],
)
def test_a_bad_table_is_named(corpus: str, release: Release, table: Path, tmp_path: Path, spoil, message: str):
    table.write_bytes(spoil(table.read_text(encoding="utf-8")))
    for skip_bad in (False, True):
        with pytest.raises(ManifestError, match=message) as raised:
            run(corpus, release, tmp_path, skip_bad)
        assert table.name in str(raised.value)


def test_a_table_that_is_missing_or_a_folder_is_named(corpus: str, release: Release, table: Path, tmp_path: Path):
    table.unlink()
    with pytest.raises(RaClapError, match=table.stem):
        run(corpus, release, tmp_path)
    table.mkdir()
    with pytest.raises(RaClapError, match=table.stem):
        run(corpus, release, tmp_path)


def test_a_repeated_row_is_named_or_counted(corpus: str, release: Release, table: Path, tmp_path: Path):
    text = table.read_text(encoding="utf-8").rstrip("\r\n")
    # The last row of every fixture becomes a pair, and has no line break inside.
    table.write_text(f"{text}\n{text.splitlines()[-1]}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="stands in more than one row"):
        run(corpus, release, tmp_path)
    assert counts(run(corpus, release, tmp_path, skip_bad=True)) == (release.pairs, release.left_out + 1)
