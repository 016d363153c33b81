"""`raclap prepare` on a table of a million rows: seconds and peak memory of a fresh process, which uses one core.

    python benchmarks/preparation.py [--rows 1000000]

The table (CSV) is made first, in a temporary folder: path, two captions, speaker and five attributes a row, no caption
twice. Recordings are not looked at (--audio-check none); the splits are dealt by speaker. `seconds` depend on what
else the machine is asked for, `cpu_seconds` far less. Needs Linux.

Ends with one line of JSON.
"""

import argparse
import csv
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from raclap.provenance import processor_name

WORDS = ("a", "the", "voice", "speaks", "sounds", "low", "high", "deep", "calm", "angry", "slow", "very")
SPEAKERS = 5_000
ATTRIBUTES = {
    "sex": ("M", "F"),
    "pitch": ("low", "normal", "high"),
    "speed": ("slow", "normal", "fast"),
    "volume": ("low", "normal", "high"),
    "emotion": ("neutral", "happy", "sad", "angry", "fearful"),
}
OPTIONS = (
    *("--columns", "path=clip", "speaker=who", "--caption-columns", "caption_1", "caption_2"),
    *("--attributes", *ATTRIBUTES, "--validation-share", "0.02", "--test-share", "0.02", "--audio-check", "none"),
)


def write_table(path: Path, rows: int) -> None:
    """Writes the table, the same for the same number of rows."""
    chance = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "caption_1", "caption_2", "who", *ATTRIBUTES])
        for row in range(rows):
            speaker = chance.randrange(SPEAKERS)
            captions = [f"{' '.join(chance.choices(WORDS, k=14))}, clip {row}." for _ in range(2)]
            values = (chance.choice(values) for values in ATTRIBUTES.values())
            writer.writerow([f"audio/{speaker:04d}/{row % 50:02d}/{row:08d}.wav", *captions, f"s{speaker}", *values])


def run(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of computation and MB at the peak of a command in a process of its own."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("raclap prepare failed")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Makes the table, prepares it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table (default 1000000)")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        write_table(table, rows)
        words = ["prepare", "table", str(table), *OPTIONS, "--output", str(table.with_name("manifest.parquet"))]
        code = "from raclap.cli import main; main()"
        seconds, cpu_seconds, peak = run([sys.executable, "-c", code, *words])
        print(f"{rows} rows, {table.stat().st_size / 1e6:.0f} MB, on {processor_name()}")
    print(f"command: raclap {shlex.join(words)}")
    figures = {
        "rows": rows,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_mb": round(peak),
        "rows_per_second": round(rows / seconds),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
