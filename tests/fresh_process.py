"""A process that cannot import this repository: what is loaded there is what a folder brings."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Goes before the code of a process that must not see this repository; `json` and `sys` are imported then.
AWAY_FROM_HERE = f"""
import json, sys
sys.path = [p for p in sys.path if "raclap" not in p and p not in ("", {str(ROOT)!r})]
sys.meta_path = [f for f in sys.meta_path if "__editable__" not in repr(f)]
for name in ("raclap", "modeling_raclap"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{{name}} can be imported: the probe proves nothing")
"""


def run_elsewhere(code: str, folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """Runs code there, with `arguments` as `sys.argv[1:]`, and reads the JSON in the last line that it prints.

    Args:
        code: Python; `json` and `sys` are imported.
        folder: to run in; caches of the Hub and of remote code are kept there too.
        *arguments: for the code.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "modules")}
    done = subprocess.run(
        [sys.executable, "-c", AWAY_FROM_HERE + code, *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])
