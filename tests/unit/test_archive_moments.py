"""Moments start and end where the styles of a recording do, whatever lies beside them.

The oracle: windows of a recording whose styles are known are given vectors as a model would that tells them apart, a
mean of the directions of the styles that they hold, by time, with noise.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from raclap.archive.facts import IndexFacts, ModelFacts
from raclap.archive.levels import crossing, cut_by_level, noise_of, overlap_of
from raclap.archive.moments import Moment, MomentFinder, Tracks, WindowPlace
from raclap.archive.store import ArchiveIndex

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
    vectors += noise / np.sqrt(D) * rng.standard_normal(vectors.shape)
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
    finder, found = MomentFinder(Tracks(index), query), []
    scores, rows = index.vectors().astype(np.float32) @ query, index.rows(range(index.windows)).to_pylist()
    for row in np.argsort(-scores).tolist():
        facts = rows[row]
        if any(min(end, facts["end"]) - max(start, facts["start"]) > 0 for start, end in found):
            continue
        extent = finder.extent(WindowPlace(row, "/archive", recording, facts["window"], facts["windows"]))
        found.append((extent.start, extent.end))
        if len(found) == count:
            break
    return sorted(found)


@pytest.mark.parametrize(("likeness", "noise", "hop"), [(0.1, 0.1, 5.0), (0.5, 0.15, 5.0), (0.3, 0.2, 2.5)])
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


def test_a_style_nearly_as_fitting_is_not_taken_in():
    levels = np.repeat([0.1, 0.9, 0.5, 0.1, 0.1], 8)
    assert cut_by_level(levels + 0.02 * np.random.default_rng(0).standard_normal(40), 2.0).tolist() == [
        0,
        8,
        16,
        24,
        40,
    ]


def test_noise_is_told_whatever_the_steps():
    rng = np.random.default_rng(3)
    steps = np.repeat(rng.uniform(-1, 1, 60), 20)
    assert noise_of(steps + 0.05 * rng.standard_normal(1200), 1.0) == pytest.approx(0.05, rel=0.15)


def test_the_cut_is_the_best_of_all():
    rng = np.random.default_rng(4)
    scores = np.repeat([0.2, 0.5, 0.1], [5, 4, 6]) + 0.05 * rng.standard_normal(15)
    cuts = cut_by_level(scores, 1.0)
    penalty = 3 * noise_of(scores, 1.0) ** 2 * np.log(15)

    def cost(cuts):
        return sum(((scores[a:b] - scores[a:b].mean()) ** 2).sum() + penalty for a, b in pairwise(cuts))

    every = ([0, *np.flatnonzero([number >> bit & 1 for bit in range(14)]) + 1, 15] for number in range(2**14))
    assert cost(cuts) == pytest.approx(min(map(cost, every)))


def test_windows_that_only_touch_meet_where_they_touch():
    start, end = np.array([0.0, 3.0, 10.0]), np.array([3.0, 10.0, 12.0])
    assert crossing(np.array([0.1, 0.2, 0.9]), start, end, 2, 1) == 10.0
    assert overlap_of(start, end) == 1.0


def test_half_way_between_two_stretches():
    start = np.arange(5) * 5.0
    progress = np.array([0.0, 0.0, 0.25, 0.75, 1.0])  # the next begins at 17.5 s: the third holds 2.5 s of it
    assert crossing(progress, start, start + 10, 3, 2) == pytest.approx(17.5)


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
    finder = MomentFinder(Tracks(index), directions[0].astype(np.float32), among)
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
