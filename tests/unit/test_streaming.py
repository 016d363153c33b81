"""Streamed rows: each once a pass, dealt to processes without overlap, shuffled, and gone on with at any place."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import RATE
from raclap.data.manifest import SCHEMA, Caption, Pair, write_manifest
from raclap.data.streaming import RowStream, StreamedCorpus, stream_split
from raclap.errors import ManifestError, RaClapError
from raclap.recipe import CorpusRecipe

CAPTIONS = (Caption("a voice"), Caption("someone speaks"))


def pairs(count: int, first: int = 0, split: str = "train") -> list[Pair]:
    return [Pair(f"{split}-{n}", f"{n}.wav", CAPTIONS, "c", split) for n in range(first, first + count)]


def write(path: Path, rows: list[Pair], group: int = 8) -> Path:
    """A manifest in small row groups."""
    write_manifest(path, rows, path.parent)
    pq.write_table(pq.read_table(path), path, row_group_size=group)
    return path


def open_stream(path: Path, **keys) -> StreamedCorpus:
    return stream_split(CorpusRecipe(name="c", manifest=str(path), streaming=True, **keys), "train", RATE, None)


def stream_of(
    corpus: StreamedCorpus, process: int = 0, processes: int = 1, buffer: int = 10, seed: int = 3
) -> RowStream:
    return RowStream(corpus, process, processes, buffer, (seed, 0), lambda inspections: inspections)


def take(stream: RowStream, count: int, times: int = 1) -> list[str]:
    drawn = itertools.chain.from_iterable(stream.take(count) for _ in range(times))
    return [window.rows[row].pair_id for window, rows in drawn for row in rows.tolist()]


@pytest.fixture
def corpus(tmp_path) -> StreamedCorpus:
    """Forty training rows, in row groups that some share with rows of other splits."""
    rows = pairs(40)
    return open_stream(write(tmp_path / "m.parquet", [*rows[:13], *pairs(5, split="test"), *rows[13:]]))


def test_a_pass_has_every_row_once_and_the_next_has_another_order(corpus):
    assert len(corpus.manifest) == 40
    stream = stream_of(corpus)
    passes = [take(stream, 8, times=5) for _ in range(3)]
    for found in passes:
        assert sorted(found) == sorted(pair.pair_id for pair in pairs(40))
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] == take(stream_of(corpus), 8, times=5)
    assert take(stream_of(corpus, seed=4), 40) != passes[0]


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_processes_share_a_pass_without_overlap(corpus, processes):
    streams = [stream_of(corpus, process, processes) for process in range(processes)]
    for _ in range(2):
        shares = [take(stream, 40 // processes) for stream in streams]
        assert max(Counter(itertools.chain(*shares)).values()) == 1
        assert {len(share) for share in shares} == {40 // processes}


def test_what_is_taken_together_is_of_one_pass(corpus):
    stream = stream_of(corpus)
    for _ in range(9):  # 5 times 7 are of a pass, and the 5 rows that are left of it are not used
        assert max(Counter(take(stream, 7, times=5)).values()) == 1


@pytest.mark.parametrize(("processes", "buffer"), [(1, 7), (3, 1), (3, 5), (2, 1000)])
def test_a_stream_goes_on_from_any_place(corpus, processes, buffer):
    unbroken, places, found = stream_of(corpus, 0, processes, buffer), [], []
    for _ in range(16):
        places.append(json.loads(json.dumps(unbroken.state_dict())))
        found.append(take(unbroken, 3))
    for step, place in list(enumerate(places))[::3]:
        resumed = stream_of(corpus, 0, processes, buffer)
        resumed.load_state_dict(place)
        assert [take(resumed, 3) for _ in range(16 - step)] == found[step:]


def test_a_window_holds_distant_rows_and_is_shuffled(tmp_path):
    corpus = open_stream(write(tmp_path / "m.parquet", pairs(400), group=10))
    numbers = [int(name.split("-")[1]) for name in take(stream_of(corpus, buffer=100), 400)]
    groups = [{number // 10 for number in numbers[first : first + 100]} for first in range(0, 400, 100)]
    assert [len(window) for window in groups] == [10] * 4
    assert max(max(window) - min(window) for window in groups) > 20, "row groups come in an order of their own"
    assert abs(np.corrcoef(numbers[:100], np.arange(100))[0, 1]) < 0.5
    assert len({number // 10 for number in numbers[:10]}) > 3, "rows of a group are spread over the window"


def test_a_folder_of_parts_and_an_odd_name_are_one_manifest(tmp_path):
    folder = tmp_path / "odd [1] name*"
    folder.mkdir()
    for number in range(3):
        write(folder / f"part-{number:03d}.parquet", pairs(10, first=10 * number))
    corpus = open_stream(folder)
    assert corpus.manifest.files.audio_root == folder.resolve()
    assert sorted(take(stream_of(corpus), 30)) == sorted(pair.pair_id for pair in pairs(30))
    table = pq.read_table(folder / "part-001.parquet")
    pq.write_table(table.drop(["style_key"]), folder / "part-001.parquet")
    with pytest.raises(ManifestError, match=r"part-001\.parquet: has other columns than part-000\.parquet"):
        _ = open_stream(folder).source


def test_other_types_of_columns_are_cast_as_when_they_are_held(tmp_path):
    path = write(tmp_path / "m.parquet", [replace(pair, start=1.0) for pair in pairs(10)])
    table = pq.read_table(path).select(["pair_id", "audio", "captions", "corpus", "split", "start"])
    kinds = {"pair_id": pa.large_string(), "split": pa.dictionary(pa.int8(), pa.string()), "start": pa.int32()}
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    pq.write_table(table, path)
    ((window, _),) = stream_of(open_stream(path)).take(4)
    assert window.rows[0].start == 1.0 and window.rows[0].captions == CAPTIONS
    assert window.rows.table.schema == SCHEMA


def test_what_is_known_without_reading_rows(tmp_path):
    rows = [replace(pair, licence="CC0", style_key="k") for pair in pairs(10)]
    manifest = open_stream(write(tmp_path / "m.parquet", [*rows, *pairs(3, split="test")])).manifest
    assert len(manifest) == 10
    assert manifest.distinct("licence") == {"CC0"}
    assert manifest.has_values("style_key") and not manifest.has_values("emotion")


def bad(path: Path, column: str, value: object) -> Path:
    """Puts a wrong value into the sixth row."""
    write(path, pairs(12))
    rows = pq.read_table(path).to_pylist()
    rows[5][column] = value
    loose = pa.schema([field.with_nullable(True) for field in SCHEMA], SCHEMA.metadata)
    pq.write_table(pa.Table.from_pylist(rows, schema=loose), path)
    return path


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("captions", [{"text": " ", "names": None}], r"row train-5: empty caption"),
        ("captions", [], r"row train-5: no caption"),
        ("audio", None, r"row train-5: column 'audio' is null"),
        ("audio", "../x.wav", r"row train-5: audio '../x.wav' leaves the audio root"),
    ],
)
def test_bad_rows_are_named_when_they_come_by(tmp_path, column, value, message):
    stream = stream_of(open_stream(bad(tmp_path / "m.parquet", column, value)))
    with pytest.raises(ManifestError, match=rf"m\.parquet: {message}"):
        take(stream, 12)


def test_files_that_change_under_way_are_named(tmp_path):
    path = write(tmp_path / "m.parquet", pairs(40))
    stream = stream_of(open_stream(path), buffer=8)
    take(stream, 8)
    path.write_bytes(b"no parquet")
    with pytest.raises(RaClapError, match=r"m\.parquet"):
        for _ in range(40):
            take(stream, 8)


def test_a_manifest_without_rows_of_the_split_is_refused(tmp_path):
    path = write(tmp_path / "m.parquet", pairs(4, split="test"))
    with pytest.raises(ManifestError, match="no rows of the split 'train'"):
        open_stream(path)
