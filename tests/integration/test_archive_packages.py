"""Without the packages of the extra, every way into an archive says which to install, in one sentence."""

import subprocess
import sys

import pytest

WITHOUT = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else found(name, *rest)
from raclap.cli import main
main()
"""


@pytest.mark.parametrize("package", ["lancedb", "numba", "ruptures"])
@pytest.mark.parametrize(
    "command",
    [["search", "INDEX", "a low voice"], ["index", "FOLDER", "INDEX", "--model", "MODEL"], ["classify", "INDEX"]],
)
def test_what_is_missing_is_named(tmp_path, command, package):
    if command[0] == "classify":
        labels = tmp_path / "labels.txt"
        labels.write_text("low\nhigh\n")
        command = [*command, "--labels", str(labels), "--output", str(tmp_path / "tags.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(package=package), *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert (
        done.stderr.strip() == f"error: Searching archives needs the package {package}: pip install 'raclap[archive]'"
    )
