"""Seconds that `AutoModel.from_pretrained` takes in a fresh process, beyond those of importing torch and transformers.

    python benchmarks/loading.py runs/demo/export

Each measurement is a process of its own and runs the code that the folder brings. Ends with one line of JSON, medians:
`load_seconds_beyond_imports`, and `library_seconds`, what of it the library spends on importing its own model code
before anything of the folder is read.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_PROBE = """
import json, sys, time
begin = time.perf_counter()
import torch, transformers
imported = time.perf_counter()
import transformers.modeling_utils
library = time.perf_counter()
from transformers import AutoModel
AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
done = time.perf_counter()
print(json.dumps({"import_seconds": imported - begin, "load_seconds_beyond_imports": done - imported,
                  "library_seconds": library - imported}))
"""


def measure(folder: Path, repeats: int) -> list[dict[str, float]]:
    """Seconds of each part, one dict a process; a first process that fills the caches does not count."""
    found = []
    with tempfile.TemporaryDirectory() as elsewhere:
        for _ in range(repeats + 1):
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, str(folder.resolve())],
                cwd=elsewhere, capture_output=True, text=True, check=True,
            )  # fmt: skip
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return found[1:]


def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an exported folder")
    parser.add_argument("--repeats", type=int, default=5, help="processes to take the median of (default: 5)")
    arguments = parser.parse_args()
    found = measure(arguments.model, arguments.repeats)
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    print(json.dumps({name: round(seconds, 2) for name, seconds in medians.items()}))


if __name__ == "__main__":
    main()
