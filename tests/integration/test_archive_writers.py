"""Several processes append to one index at the same time, as those of one `accelerate launch` do."""

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
    n = 3
    vectors = np.full(n * 8, writer + 1, np.float16)
    index.append(pa.table({
        "recording": [f"{writer}/{commit}.flac"] * n, "root": ["/r"] * n,
        "window": pa.array(range(n), pa.int32()), "windows": pa.array([n] * n, pa.int32()),
        "start": [0.0] * n, "end": [1.0] * n, "duration": pa.array([1.0] * n, pa.float32()),
        "size": [1] * n, "mtime_ns": [1] * n, "sha256": [""] * n,
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), 8),
    }))
"""


def test_no_commit_of_any_writer_is_lost(tmp_path):
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
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    index = ArchiveIndex.open(path)
    held = Counter(index.rows(range(index.windows), ["recording"])["recording"].to_pylist())
    assert held == {f"{writer}/{commit}.flac": 3 for writer in range(WRITERS) for commit in range(COMMITS)}
