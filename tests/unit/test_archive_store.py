"""The store of an index: whole recordings or none, filters, and what keeps it from being written."""

import json
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock

from raclap.archive import facts as facts_file
from raclap.archive import store
from raclap.archive.columns import ROW_COLUMNS, schema
from raclap.archive.facts import ApproximateFacts, IndexFacts, ModelFacts
from raclap.archive.store import ArchiveError, ArchiveIndex

D = 8
FACTS = IndexFacts(ModelFacts("a/model", {"model.safetensors": "ab"}, D, 16_000, {"slope": 2.0}), 10.0, 5.0)


def rows_of(*names, windows=3, seed=0):
    """All windows of recordings, by hand."""
    size = len(names) * windows
    number = np.tile(np.arange(windows, dtype=np.int32), len(names))
    vectors = np.random.default_rng(seed).standard_normal((size, D)).astype(np.float16)
    return pa.table(
        {
            "recording": np.repeat(names, windows),
            "root": ["/archive"] * size,
            "window": number,
            "windows": np.full(size, windows, np.int32),
            "start": number * 5.0,
            "end": number * 5.0 + 10,
            "duration": np.full(size, 10, np.float32),
            "size": np.full(size, 1000),
            "mtime_ns": np.full(size, 7),
            "sha256": ["cd"] * size,
            "sex": ["female", "male", None][:windows] * len(names),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), D),
        }
    )


@pytest.fixture
def index(tmp_path):
    made = ArchiveIndex.create(tmp_path / "index", FACTS)
    made.append(rows_of("a.wav", "b.wav"))
    return made


def names(index):
    return sorted(ArchiveIndex.open(index.path).recordings()["recording"].to_pylist())


def test_what_is_written_is_read_back(index):
    more = rows_of("c.wav", seed=1)
    index.append(more)
    opened = ArchiveIndex.open(str(index.path))
    assert opened.facts == FACTS and opened.windows == 9 and opened.columns == ROW_COLUMNS
    assert opened.recordings().to_pylist()[2] == {
        "recording": "c.wav", "root": "/archive", "source": "/archive", "size": 1000, "mtime_ns": 7, "sha256": "cd",
        "windows": 3,
    }  # fmt: skip
    vectors = np.array(more["vector"].to_pylist())
    assert opened.vectors().dtype == np.float16
    assert np.array_equal(opened.vectors()[6:], vectors) and np.array_equal(
        opened.vectors_of([8, 6, 8]), vectors[[2, 0, 2]]
    )
    assert opened.rows([7, 0, 7], ["recording", "window"]).to_pylist() == [
        {"recording": "c.wav", "window": 1}, {"recording": "a.wav", "window": 0}, {"recording": "c.wav", "window": 1},
    ]  # fmt: skip
    assert opened.rows([]).column_names == list(ROW_COLUMNS) and opened.rows([2])["emotion"].to_pylist() == [None]


def test_positions_stay_right_after_removal_and_compaction(index):
    for name in "defgh":
        index.append(rows_of(f"{name}.wav", seed=ord(name)))
    index.remove(["b.wav", "e.wav", "it's none.wav"])
    index.compact()
    index.append(rows_of("it's.wav", seed=5))
    for opened in (index, ArchiveIndex.open(index.path)):
        everything = opened.rows(range(opened.windows), ["recording", "window", "sex", "vector"])
        assert sorted(set(everything["recording"].to_pylist())) == [
            "a.wav",
            "d.wav",
            "f.wav",
            "g.wav",
            "h.wav",
            "it's.wav",
        ]
        assert np.array_equal(np.array(everything["vector"].to_pylist(), np.float16), opened.vectors())
        female = opened.where("sex = 'female'")
        assert female.tolist() == [i for i, sex in enumerate(everything["sex"].to_pylist()) if sex == "female"]
    index.remove(["it's.wav"])
    assert "it's.wav" not in names(index)
    assert len(list((index.path / "moments.lance" / "_versions").iterdir())) <= 4


def test_a_reader_keeps_its_version(index):
    reader = ArchiveIndex.open(index.path)
    before = reader.vectors()
    index.remove(["a.wav"])
    index.append(rows_of("c.wav", seed=2))
    assert reader.windows == 6 and np.array_equal(reader.vectors(), before)
    index.compact(keep=timedelta(hours=1))
    assert np.array_equal(reader.vectors(), before)
    index.compact()
    with pytest.raises(ArchiveError, match=r"compacted since it was opened \(open it again\)"):
        reader.vectors()


@pytest.mark.parametrize(
    ("expression", "windows"),
    [
        ("sex = 'female' and duration > 3", [0, 3]),
        ("sex IS NULL or (start >= 5 and recording like 'b%')", [2, 4, 5]),
        ("recording in ('a.wav', 'x;y') and sex <> '--('", [0, 1]),
        ("recording in ('b.wav'" + ", 'c.wav'" * 2_000 + ") and window in (1" + ", 1" * 2_000 + ")", [4]),
        ("start >= 0" + " + 0" * 240, [0, 1, 2, 3, 4, 5]),
        ("start < 0", []),
    ],
)
def test_filters(index, expression, windows):
    assert index.where(expression).tolist() == windows
    assert index.where(None) is None


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("seks = 'female'", "no column 'seks'; did you mean 'sex'"),
        ("qqqq = 'red'", "no column 'qqqq'; they are recording, root"),
        ("sex =", "is no filter"),
        ("window + 1", "is no filter"),
        ("window > 'a'", "is no filter"),
        ("window > (select 1)", "is no filter"),
        ("window > 0 order by window", "is no filter"),
        ("window > 0 limit 1", "is no filter"),
        ("window > 0 drop table moments", "is no filter"),
        ("window > 0; drop table moments", "is no single condition"),
        ("drop table moments", "is no single condition"),
        ("select * from moments", "is no single condition"),
        ("window > 0) or (1 = 1", "is no single condition"),
        ("window > 0 -- and more", "is no single condition"),
        ("sex = 'female", "is no single condition"),
        ("  ", "is no single condition"),
        ("x" * 1_000, "no column"),
        ("x" * 10_000, "is longer than 1,000 characters"),
        ("start > 1" + " + 1" * 5_000, "is longer than 1,000 characters"),  # LanceDB would kill the process
        ("(" * 5_000 + "1 = 1" + ")" * 5_000, "is longer than 1,000 characters"),
    ],
)
def test_what_is_no_filter(index, expression, said):
    with pytest.raises(ArchiveError, match=said) as caught:
        index.where(expression)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert names(index) == ["a.wav", "b.wav"]


def test_only_whole_recordings_are_added(index):
    whole = rows_of("c.wav", "d.wav")
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.full(6 * D, np.inf, np.float16)), D)
    wrong = {
        "'c.wav' is to be added in part": whole.slice(1),
        "'d.wav' is to be added in part": whole.take(pa.array([0, 1, 2, 3, 3, 4])),
        "needs the column 'root'": whole.drop(["root"]),
        "does not know the column 'colour'": whole.append_column("colour", pa.nulls(6)),
        "do not fit the index": whole.set_column(0, "recording", pa.nulls(6, pa.string())),
        "not finite": whole.set_column(whole.column_names.index("vector"), "vector", vector),
    }
    version = index.version
    for said, rows in wrong.items():
        with pytest.raises(ArchiveError, match=said):
            index.append(rows)
    assert index.version == version and names(index) == ["a.wav", "b.wav"]


def test_an_index_is_made_where_nothing_is(tmp_path, index):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    (tmp_path / "file").touch()
    for path, said in (
        (index.path, "an index already"),
        (tmp_path / "photos", "cat.png"),
        (tmp_path / "file", "a file"),
    ):
        with pytest.raises(ArchiveError, match=said):
            ArchiveIndex.create(path, FACTS)
    # An attempt that was cut off before it was written.
    (index.path / "index.json").rename(index.path / ".index-abc.json")
    assert ArchiveIndex.create(index.path, FACTS).windows == 0


def test_one_maker_at_a_time(tmp_path):
    (tmp_path / "new").mkdir()
    with FileLock(tmp_path / "new" / ".lock"), pytest.raises(ArchiveError, match="is being written by another"):
        ArchiveIndex.create(tmp_path / "new", FACTS)
    assert ArchiveIndex.create(tmp_path / "new", FACTS).windows == 0


def test_what_cannot_be_opened(tmp_path, index):
    with pytest.raises(ArchiveError, match=r"is no index, since it holds no index\.json"):
        ArchiveIndex.open(tmp_path / "nothing")
    values = FACTS.to_dict()
    file = index.path / "index.json"
    for text, said in (
        (json.dumps({**values, "format_version": 1}), r"another release of raclap \(format version 1, this one"),
        (json.dumps({**values, "model": {}}), "damaged"),
        ("[]", "damaged"),
        ("{", "not what this release"),
        (json.dumps({**values, "model": {**values["model"], "projection_dim": 9}}), "other columns"),
    ):
        file.write_text(text)
        with pytest.raises(ArchiveError, match=said) as caught:
            ArchiveIndex.open(index.path)
        assert "\n" not in str(caught.value)
    file.write_text(json.dumps(values))
    (index.path / "moments.lance").rename(index.path / "gone.lance")
    with pytest.raises(ArchiveError, match=r"moments\.lance cannot be opened"):
        ArchiveIndex.open(index.path)


def test_facts_are_replaced_whole(index, monkeypatch):
    built = FACTS.with_approximate(ApproximateFacts(9, 3, 1, 20, 0.97, 9))
    index.keep_facts(built)
    assert ArchiveIndex.open(index.path).facts == built
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(ArchiveError, match="the disk is full; the index is whole, as of its last commit"):
        index.keep_facts(FACTS)
    assert ArchiveIndex.open(index.path).facts == built and index.facts == built
    assert not list(index.path.glob(".index-*"))


def test_one_indexer_at_a_time(index):
    with index.writing():
        second = ArchiveIndex.open(index.path).writing()
        with pytest.raises(ArchiveError, match="is being written by another raclap index"), second:
            pass
        assert names(index) == ["a.wav", "b.wav"]
    with index.writing():
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("lance error: LanceError(IO): Permission denied (os error 13)"), "read-only for this user"),
        (
            RuntimeError("lance error: Read-only file system (os error 30), /x/lance-io-1/src/local.rs:1:2"),
            "read-only",
        ),
        (OSError("something new\nand more"), "something new; the index"),
    ],
)
def test_what_keeps_it_from_being_written(index, monkeypatch, error, said):
    def fails(*_, **__):
        raise error

    for method, call in (
        ("add", lambda: index.append(rows_of("c.wav"))),
        ("delete", lambda: index.remove(["a.wav"])),
        ("optimize", index.compact),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(type(index._table), method, fails)
            with pytest.raises(ArchiveError, match=said) as caught:
                call()
        assert "\n" not in str(caught.value) and ".rs" not in str(caught.value)


def test_addresses_pass_through(monkeypatch):
    """No object storage is here: what is held is that LanceDB gets the address, and no folder is made of it."""
    asked = []
    monkeypatch.setattr(store, "read_facts", lambda path: FACTS)
    monkeypatch.setattr(store.lancedb, "connect", lambda address: asked.append(address) or FakeDatabase())
    opened = ArchiveIndex.open("s3://bucket/index")
    assert asked == ["s3://bucket/index"] and opened.path == "s3://bucket/index"
    with opened.writing():
        pass


class FakeDatabase:
    """Stands for one that is far away."""

    schema = schema(D)

    def open_table(self, name):
        return self


def test_an_address_of_no_storage():
    for call in (ArchiveIndex.open, facts_file.facts_exist, lambda path: ArchiveIndex.create(path, FACTS)):
        with pytest.raises(ArchiveError, match="expected an address such as s3://bucket/index") as caught:
            call("nothing://bucket/index")
        assert "\n" not in str(caught.value)


def test_facts_at_an_address(tmp_path):
    """Through the same calls as on object storage, of a file system that is here."""
    address = f"file://{tmp_path}"
    assert not facts_file.facts_exist(address)
    with pytest.raises(ArchiveError, match="is no index"):
        facts_file.read_facts(address)
    facts_file.write_facts(address, FACTS)
    assert facts_file.facts_exist(address) and facts_file.read_facts(address) == FACTS
    (tmp_path / "index").mkdir()
    made = ArchiveIndex.create(f"file://{tmp_path}/index", FACTS)
    made.append(rows_of("a.wav"))
    assert ArchiveIndex.open(f"file://{tmp_path}/index").windows == 3


APPENDS = """
import sys
sys.path.insert(0, {tests!r})
from test_archive_store import rows_of
from raclap.archive.store import ArchiveIndex
index = ArchiveIndex.open({path!r})
print("open", flush=True)
sys.stdin.readline()
for number in range({first}, {last}):
    index.append(rows_of(*(f"{{number}}-{{part}}.wav" for part in range(4))))
    print(number, flush=True)
"""


def appending(index, first, last):
    code = APPENDS.format(tests=str(Path(__file__).parent), path=str(index.path), first=first, last=last)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_several_processes_append_at_once_and_one_is_killed(index):
    """One finishes; another is killed while it appends: all of a commit is there, or nothing."""
    processes = [appending(index, first, last) for first, last in ((0, 10), (1000, 100_000))]
    for process in processes:
        assert process.stdout.readline() == "open\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes[:1]:
        assert process.wait(60) == 0
    time.sleep(0.05)
    processes[1].send_signal(signal.SIGKILL)
    processes[1].wait(10)
    told = processes[1].stdout.read().split()
    opened = ArchiveIndex.open(index.path)
    found = opened.recordings()
    parts = [name.partition("-")[0] for name in found["recording"].to_pylist()]
    whole = {str(number) for number in range(10)} | set(told)
    counts = {part: parts.count(part) for part in set(parts)}
    assert whole <= set(counts) and counts.pop("a.wav") == counts.pop("b.wav") == 1
    assert set(counts.values()) == {4} and len(set(counts) - whole) <= 1
    assert opened.windows == sum(found["windows"].to_pylist())
    opened.append(rows_of("after.wav"))
    opened.compact()
    assert "after.wav" in names(opened)


LIMITED = """
import resource, sys
sys.path.insert(0, {tests!r})
from test_archive_store import rows_of
from raclap.archive.store import ArchiveError, ArchiveIndex
index = ArchiveIndex.open({path!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    index.append(rows_of(*(f"{{part}}.wav" for part in range(4000))))
except ArchiveError as error:
    print(error)
"""


def test_a_file_that_may_not_grow(index):
    """As on a disk that is full, by the limit that any user can set."""
    code = LIMITED.format(tests=str(Path(__file__).parent), path=str(index.path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "cannot be written, a file grew over the limit of this system; the index is whole" in done.stdout, done
    assert names(index) == ["a.wav", "b.wav"]
