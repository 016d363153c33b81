"""A commit of several steps: readers see all of it or nothing, whatever happens amid it."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts
from raclap.archive.store import ArchiveIndex

D = 16


def rows_of(name, mark, windows=3, source="/archive"):
    """All windows of a recording; `mark` tells its versions apart."""
    vectors = np.random.default_rng(mark).standard_normal((windows, D)).astype(np.float16)
    return pa.table(
        {
            "recording": [name] * windows,
            "root": ["/archive"] * windows,
            "source": [source] * windows,
            "window": pa.array(range(windows), pa.int32()),
            "windows": pa.array([windows] * windows, pa.int32()),
            "start": np.arange(windows) * 5.0,
            "end": np.arange(windows) * 5.0 + 10,
            "duration": pa.array([10.0] * windows, pa.float32()),
            "size": [1] * windows,
            "mtime_ns": [mark] * windows,
            "sha256": ["cd"] * windows,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), D),
        }
    )


@pytest.fixture
def index(tmp_path):
    made = ArchiveIndex.create(tmp_path / "index", IndexFacts(ModelFacts("m", {}, D, 16_000), 10.0, 5.0))
    made.append(pa.concat_tables([rows_of("a.wav", 1), rows_of("b.wav", 1, windows=2)]))
    return made


def held(index):
    """What whoever opens the index now finds: recordings with their marks, in the order of their rows."""
    opened = ArchiveIndex.open(index.path)
    table = opened.rows(range(opened.windows), ["source", "recording", "mtime_ns", "window"])
    assert len(opened.vectors()) == opened.windows
    return [f"{row['recording']} {row['mtime_ns']}.{row['window']}" for row in table.to_pylist()]


BEFORE = ["a.wav 1.0", "a.wav 1.1", "a.wav 1.2", "b.wav 1.0", "b.wav 1.1"]
AFTER = ["b.wav 1.0", "b.wav 1.1", "a.wav 2.0", "a.wav 2.1"]
RENEWED = ([("/archive", "a.wav")], rows_of("a.wav", 2, windows=2))


def test_readers_see_all_of_a_commit_or_nothing(index, monkeypatch):
    seen = []
    for step in ("delete", "add"):
        own = getattr(type(index._table), step)

        def watched(table, *arguments, own=own, **options):
            done = own(table, *arguments, **options)
            seen.append(held(index))
            return done

        monkeypatch.setattr(type(index._table), step, watched)
    index.renew(*RENEWED)
    assert seen == [BEFORE, BEFORE]
    assert held(index) == AFTER and index.windows == 4


def test_a_disk_that_is_full_amid_a_commit(index, monkeypatch):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(type(index._table), "add", fails)
        with pytest.raises(ArchiveError, match="the disk is full; the index is whole, as of its last commit"):
            index.renew(*RENEWED)
    assert held(index) == BEFORE and index.windows == 5
    index.append(rows_of("c.wav", 1, windows=1))
    assert held(index) == [*BEFORE, "c.wav 1.0"]
    index.renew(*RENEWED)
    index.compact()
    assert held(index) == ["b.wav 1.0", "b.wav 1.1", "c.wav 1.0", "a.wav 2.0", "a.wav 2.1"]


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_archive_commits import RENEWED, ArchiveIndex
index = ArchiveIndex.open(sys.argv[2])
type(index._table).add = lambda *_, **__: os._exit(9)
index.renew(*RENEWED)
"""


def test_a_writer_that_is_killed_amid_a_commit(index):
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", KILLED, here, index.path], timeout=120, check=False)
    assert done.returncode == 9
    assert held(index) == BEFORE
    with ArchiveIndex.open(index.path).writing():
        second = ArchiveIndex.open(index.path)
        second.append(rows_of("c.wav", 1, windows=1))
        second.compact()
    assert held(index) == [*BEFORE, "c.wav 1.0"]


def test_a_recording_is_told_by_its_source_and_name(index):
    other = rows_of("a.wav", 7, windows=1, source="other.parquet")
    index.append(other)
    index.renew([("other.parquet", "a.wav")], rows_of("a.wav", 8, windows=2, source="other.parquet"))
    assert held(index) == [*BEFORE, "a.wav 8.0", "a.wav 8.1"]
    index.remove(["a.wav"], "/archive")
    assert held(index) == ["b.wav 1.0", "b.wav 1.1", "a.wav 8.0", "a.wav 8.1"]
    index.remove(["a.wav"])
    assert held(index) == ["b.wav 1.0", "b.wav 1.1"]


def test_recordings_of_one_name_in_two_roots_are_whole_each_by_itself(index):
    one, two = rows_of("c.wav", 1, windows=3), rows_of("c.wav", 2, windows=1, source="/elsewhere")
    index.append(pa.concat_tables([one, two]))
    assert held(index) == [*BEFORE, "c.wav 1.0", "c.wav 1.1", "c.wav 1.2", "c.wav 2.0"]
    third = two.set_column(two.column_names.index("window"), "window", pa.array([2], pa.int32()))
    parts = pa.concat_tables([one.slice(0, 2), third])  # would be whole if the roots were one
    with pytest.raises(ArchiveError, match="'c\\.wav' is to be added in part"):
        index.append(parts)


def test_what_a_manifest_is_not_said_to_be_comes_from_the_root(index):
    index.append(rows_of("c.wav", 1, windows=1).drop(["source"]))
    opened = ArchiveIndex.open(index.path)
    assert opened.rows([opened.windows - 1], ["source"]).to_pylist() == [{"source": "/archive"}]


def test_compaction_with_an_approximate_search_leaves_few_versions(index):
    index.append(pa.concat_tables([rows_of(f"{number}.wav", number, windows=1) for number in range(600)]))
    index.build_ivf_rq(2)
    for mark in range(3):
        index.append(rows_of(f"late{mark}.wav", mark))
        index.compact(keep=timedelta(0))
        opened = ArchiveIndex.open(index.path)
        assert opened.version == index.version and opened.windows == 605 + 3 * (mark + 1)
        assert len(list((index.path / "moments.lance" / "_versions").glob("*.manifest"))) <= 2
        query = opened.vectors_of([opened.windows - 1])[0].astype(np.float32)
        assert opened.windows - 1 in opened.approximately_nearest(query, 1, 2, 20)
