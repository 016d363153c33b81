"""What LanceDB says to its developers does not reach whoever uses an index, unless it is asked for."""

import os
import subprocess
import sys

import pytest

WARNS = """
import sys
from raclap.archive.store import lancedb, schema
lancedb.connect(sys.argv[1]).create_table("new", schema=schema(8), mode="overwrite")
"""


@pytest.mark.parametrize("level", [None, "warn"])
def test_warnings_of_lancedb(tmp_path, level):
    environment = {name: value for name, value in os.environ.items() if name != "LANCEDB_LOG"}
    if level is not None:
        environment["LANCEDB_LOG"] = level
    done = subprocess.run(
        [sys.executable, "-c", WARNS, tmp_path],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("No existing dataset" in done.stderr) == (level is not None), done.stderr
