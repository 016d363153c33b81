"""Moments start and end where the styles of a recording do, whatever lies beside them.

The oracle: windows of a recording whose styles are known are given vectors as a model would that tells them apart, a
mean of the directions of the styles that they hold, by time, with noise.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from raclap.archive.extents import ExtentFinder
from raclap.archive.facts import IndexFacts, ModelFacts
from raclap.archive.moments import Moment
from raclap.archive.store import ArchiveIndex
from raclap.archive.tracks import Tracks, WindowPlace

D, WINDOW, HOP = 16, 10.0, 5.0


def styles_of(count, likeness, rng):
    """(count, D) unit vectors of styles, any two of which have about this cosine."""
    vectors = np.linalg.qr(rng.standard_normal((D, D)))[0][: count + 1]
    return np.sqrt(likeness) * vectors[0] + np.sqrt(1 - likeness) * vectors[1:]


def stretches_of(seconds, count, rng):
    """Style, start and end of stretches one after the other, none beside itself."""
    found, time, former = [], 0.0, -1
    while time < seconds:
        former = int(rng.choice([style for style in range(count) if style != former]))
        end = time + rng.uniform(20.0, 70.0)
        found.append((former, time, end))
        time = end
    return found


def windows_of(stretches, directions, noise, rng, window=WINDOW, hop=HOP):
    """Start, end and (n, D) vectors of windows over the stretches."""
    start = np.arange(0.0, stretches[-1][2] - window, hop)
    vectors = np.zeros((len(start), D))
    for style, begin, end in stretches:
        shared = np.clip(np.minimum(start + window, end) - np.maximum(start, begin), 0, None)
        vectors += shared[:, None] / window * directions[style]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    within = round(window / hop)  # as the windows share their sound, they share what is random in it
    beneath = noise * np.sqrt(within / D) * rng.standard_normal((len(start) + within - 1, D))
    vectors += np.lib.stride_tricks.sliding_window_view(beneath, within, axis=0).mean(axis=-1)
    return start, start + window, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_index(path, recordings, root="/archive", source=None):
    """An index of recordings, made or added to: name to start, end and vectors."""
    facts = IndexFacts(ModelFacts("none", {}, D, 16_000), WINDOW, HOP)
    index = ArchiveIndex.open(path) if path.exists() else ArchiveIndex.create(path, facts)
    for name, (start, end, vectors) in recordings.items():
        count = len(start)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel(), pa.float16()), D)
        index.append(
            pa.table(
                {
                    "recording": [name] * count,
                    "root": [root] * count,
                    "source": [source or root] * count,
                    "window": pa.array(range(count), pa.int32()),
                    "windows": pa.array([count] * count, pa.int32()),
                    "start": start,
                    "end": end,
                    "duration": (end - start).astype(np.float32),
                    "size": [1] * count,
                    "mtime_ns": [1] * count,
                    "sha256": [name] * count,
                    "vector": column,
                }
            )
        )
    return ArchiveIndex.open(path)


def moments_of(index, query, count, recording="long"):
    """Starts and ends of the best moments of one recording, found as a search does."""
    finder, found = ExtentFinder(Tracks(index), query), []
    scores, rows = index.vectors().astype(np.float32) @ query, index.rows(range(index.windows)).to_pylist()
    for row in np.argsort(-scores).tolist():
        facts = rows[row]
        if any(min(end, facts["end"]) - max(start, facts["start"]) > 0 for start, end in found):
            continue
        extent = finder.extent(WindowPlace(row, "/archive", recording, facts["window"], facts["windows"]))
        if extent is None:
            continue
        found.append((extent.start, extent.end))
        if len(found) == count:
            break
    return sorted(found)


@pytest.mark.parametrize(
    ("likeness", "noise", "hop"),
    [(0.1, 0.01, 5.0), (0.1, 0.1, 5.0), (0.5, 0.15, 5.0), (0.3, 0.2, 2.5), (0.3, 0.02, 2.5)],
)
def test_two_hours_of_known_styles(tmp_path, likeness, noise, hop):
    rng = np.random.default_rng(1)
    directions = styles_of(6, likeness, rng)
    stretches = stretches_of(7200.0, 6, rng)
    index = make_index(tmp_path / "index", {"long": windows_of(stretches, directions, noise, rng, hop=hop)})
    for style in range(6):
        truth = [(begin, end) for own, begin, end in stretches if own == style]
        found = moments_of(index, directions[style].astype(np.float32), len(truth))
        assert len(found) == len(truth)
        assert np.abs(np.array(found) - np.array(truth)).max() <= hop


def test_a_recording_of_one_style_stays_whole(tmp_path):
    rng = np.random.default_rng(2)
    directions = styles_of(1, 0.0, rng)
    index = make_index(tmp_path / "index", {"long": windows_of([(0, 0.0, 1800.0)], directions, 0.3, rng)})
    ((start, end),) = moments_of(index, directions[0].astype(np.float32), 1)
    assert start == 0.0
    assert end == index.rows([index.windows - 1])["end"][0].as_py()


def neighbours(index, styles, query):
    """Starts and ends of the moment around 60 s and of that around 140 s."""
    finder = ExtentFinder(Tracks(index), query.astype(np.float32))
    places = (WindowPlace(row, "/archive", "long", row, index.windows) for row in (12, 28))
    return [extent and (round(extent.start), round(extent.end)) for extent in map(finder.extent, places)]


@pytest.mark.parametrize(
    ("likeness", "levels", "expected"),
    [
        (0.9, (0.8, 0.78), [(0, 200), None]),  # alike, and fitting alike: one moment
        (0.9, (0.8, 0.5), [(0, 100), (100, 200)]),  # alike, but one fits better
        (0.6, (0.8, 0.8), [(0, 100), (100, 200)]),  # both fit, but they sound different
    ],
)
def test_neighbours_are_one_moment_if_they_sound_alike_and_fit_alike(tmp_path, likeness, levels, expected):
    rng = np.random.default_rng(3)
    first, second, other, background = np.eye(4, D)
    styles = np.stack([first, likeness * first + np.sqrt(1 - likeness**2) * second, background])
    query = np.linalg.lstsq(styles[:2], levels, rcond=None)[0]
    query += np.sqrt(1 - query @ query) * other
    stretches = [(0, 0.0, 100.0), (1, 100.0, 200.0), (2, 200.0, 500.0)]
    index = make_index(tmp_path / "index", {"long": windows_of(stretches, styles, 0.1, rng)})
    found = neighbours(index, styles, query)
    assert [moment is None for moment in found] == [moment is None for moment in expected]
    for moment, truth in zip(found, expected, strict=True):
        assert truth is None or np.abs(np.subtract(moment, truth)).max() <= 2


def test_a_recording_that_fits_throughout_is_one_moment(tmp_path):
    """Moods of one voice that the query does not tell apart: their levels differ by less than their windows do."""
    rng = np.random.default_rng(9)
    first, second, other = np.eye(3, D)
    styles = np.stack([first, 0.9 * first + np.sqrt(0.19) * second])
    query = np.linalg.lstsq(styles, (0.8, 0.78), rcond=None)[0]
    query += np.sqrt(1 - query @ query) * other
    stretches = [(place % 2, 100.0 * place, 100.0 * place + 100) for place in range(5)]
    index = make_index(tmp_path / "index", {"long": windows_of(stretches, styles, 0.15, rng)})
    track = Tracks(index).around(WindowPlace(0, "/archive", "long", 0, index.windows))
    assert len(track.stretches_around(0, None)) == 5
    ((start, end),) = moments_of(index, query.astype(np.float32), 1)
    assert (start, end) == (0.0, index.rows([index.windows - 1])["end"][0].as_py())


def test_what_an_earlier_moment_has_is_not_sought_again(tmp_path):
    rng = np.random.default_rng(10)
    directions = np.eye(2, D)
    query = (0.8 * directions[0] + 0.6 * directions[1]).astype(np.float32)
    index = make_index(
        tmp_path / "index", {"long": windows_of([(0, 0.0, 90.0), (1, 90.0, 190.0)], directions, 0.05, rng)}
    )
    finder = ExtentFinder(Tracks(index), query)
    first = finder.extent(WindowPlace(5, "/archive", "long", 5, index.windows))
    beside = first.rows[-1] + 1
    second = finder.extent(WindowPlace(beside, "/archive", "long", beside, index.windows))
    assert (first.start, second.end) == (0.0, index.rows([index.windows - 1])["end"][0].as_py())
    assert first.end == second.start == pytest.approx(90.0, abs=HOP / 2)
    assert sorted(first.rows + second.rows) == list(range(index.windows))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_a_window_on_a_border_speaks_for_the_style_that_fits(tmp_path, noise):
    """Half of each of two styles scores 0.95, though the one scores 0.8 and the other 0.54."""
    rng = np.random.default_rng(4)
    directions = np.eye(2, D)
    query = np.array([0.8, 0.54, *[0.0] * (D - 2)])
    query /= np.linalg.norm(query)
    index = make_index(
        tmp_path / "index", {"long": windows_of([(0, 0.0, 90.0), (1, 90.0, 190.0)], directions, noise, rng)}
    )
    for row in (16, 17):
        finder = ExtentFinder(Tracks(index), query.astype(np.float32))
        extent = finder.extent(WindowPlace(row, "/archive", "long", row, index.windows))
        assert (extent.start, extent.end) == (0.0, pytest.approx(90.0, abs=HOP / 2))
        assert extent.best < 17
        assert extent.score == pytest.approx(query[0], abs=0.02 + noise / 2)
        assert (extent.best_start, extent.best_end) == (HOP * extent.best, HOP * extent.best + WINDOW)
    assert finder.extent(WindowPlace(3, "/archive", "long", 3, index.windows)) is None


def test_missing_windows_end_a_moment(tmp_path):
    rng = np.random.default_rng(5)
    directions = styles_of(1, 0.0, rng)
    start, end, vectors = windows_of([(0, 0.0, 200.0)], directions, 0.1, rng)
    heard = (start < 50) | (start >= 100)
    index = make_index(tmp_path / "index", {"long": (start[heard], end[heard], vectors[heard])})
    assert moments_of(index, directions[0].astype(np.float32), 2) == [(0.0, 55.0), (100.0, float(end[-1]))]


def test_what_a_filter_leaves_out_is_in_no_moment(tmp_path):
    rng = np.random.default_rng(6)
    directions = styles_of(1, 0.0, rng)
    index = make_index(tmp_path / "index", {"long": windows_of([(0, 0.0, 200.0)], directions, 0.1, rng)})
    among = index.where("start >= 60 and start < 90")
    finder = ExtentFinder(Tracks(index), directions[0].astype(np.float32), among)
    extent = finder.extent(WindowPlace(15, "/archive", "long", 15, index.windows))
    assert (extent.start, extent.end, extent.rows) == (60.0, 95.0, tuple(range(12, 18)))


def test_rows_of_a_recording_that_lie_apart(tmp_path):
    rng = np.random.default_rng(7)
    directions = styles_of(2, 0.0, rng)
    own = windows_of([(0, 0.0, 60.0)], directions, 0.1, rng)
    index = make_index(tmp_path / "index", {"it's": own, "b": own})
    place = WindowPlace(0, "/archive", "b", 5, len(own[0]))  # as if the fifth window were the first row
    track = Tracks(index).around(place)
    assert track.rows.tolist() == list(range(len(own[0]), 2 * len(own[0])))


def test_recordings_of_one_name_are_told_apart_by_their_source(tmp_path):
    rng = np.random.default_rng(8)
    directions = styles_of(2, 0.0, rng)
    path = tmp_path / "index"
    for number, source in enumerate(("/one", "/two", "two.parquet", "it's two.parquet")):
        seconds = 60.0 + 10 * number
        own = windows_of([(0, 0.0, seconds)], directions, 0.1, rng)
        index = make_index(path, {"a": own}, root=f"/{source[1:4]}", source=source)
    tracks = Tracks(index)
    table = index.rows(range(index.windows), ["source", "window", "windows"]).to_pylist()
    for row in range(index.windows):
        told = table[row]
        own = [at for at, other in enumerate(table) if other["source"] == told["source"]]
        place = WindowPlace(row, told["source"], "a", told["window"], told["windows"])
        assert tracks.around(place).rows.tolist() == own
        apart = replace(place, row=0)  # as if the rows of a recording did not lie together
        assert Tracks(index).around(apart).rows.tolist() == own


@pytest.mark.parametrize("recording", ["../a.wav", "/etc/a.wav", "s3://bucket/a.wav", "a/../../b.wav"])
def test_a_recording_never_leaves_the_root(recording):
    moment = Moment(recording, "/archive", 0.0, 1.0, 0.5, 0.0, 1.0)
    assert moment.path is None
    assert not moment.is_there
