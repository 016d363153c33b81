"""Several processes write one index at the same time, as those of one `accelerate launch` do."""

import subprocess
import sys
from collections import Counter

from raclap.archive.facts import IndexFacts, ModelFacts
from raclap.archive.store import ArchiveIndex

WRITERS, COMMITS = 3, 6
WRITE = """
import sys
import numpy as np, pyarrow as pa
from raclap.archive.store import ArchiveIndex

path, writer, commits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
index = ArchiveIndex.open(path)
print("ready", flush=True)
sys.stdin.readline()
for commit in range(commits):
    for name in (f"{writer}/{commit}.flac", f"{writer}/renewed.flac"):
        n = 3 + commit % 2
        vectors = np.full(n * 8, writer + 1, np.float16)
        index.renew([("/r", name)], pa.table({
            "recording": [name] * n, "root": ["/r"] * n,
            "window": pa.array(range(n), pa.int32()), "windows": pa.array([n] * n, pa.int32()),
            "start": [0.0] * n, "end": [1.0] * n, "duration": pa.array([1.0] * n, pa.float32()),
            "size": [1] * n, "mtime_ns": [commit] * n, "sha256": [""] * n,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), 8),
        }))
"""


def held(path):
    """Windows of each recording and commit, as whoever opens the index now finds them."""
    index = ArchiveIndex.open(path)
    rows = index.rows(range(index.windows), ["recording", "mtime_ns"]).to_pylist()
    return Counter((row["recording"], row["mtime_ns"]) for row in rows)


def test_no_commit_of_any_writer_is_lost_and_none_is_seen_in_part(tmp_path):
    path = tmp_path / "index"
    ArchiveIndex.create(path, IndexFacts(ModelFacts("m", {}, 8, 16_000), 10.0, 5.0))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, path, str(writer), str(COMMITS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for writer in range(WRITERS)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    looks, most = 0, 0
    while any(writer.poll() is None for writer in writers):
        seen = held(path)
        assert all(windows == 3 + commit % 2 for (_, commit), windows in seen.items()), seen
        names = [name for name, _ in seen]
        assert len(names) == len(set(names)) >= most, "a recording is there twice, or was lost"
        looks, most = looks + 1, len(names)
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    assert looks > 1
    assert held(path) == {
        (f"{writer}/{name}.flac", commit): 3 + commit % 2
        for writer in range(WRITERS)
        for name, commit in [*((commit, commit) for commit in range(COMMITS)), ("renewed", COMMITS - 1)]
    }
