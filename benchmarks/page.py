"""The page, asked over HTTP as a browser asks it: a description over many clips, and a clip that is uploaded.

    python benchmarks/page.py                               the models of `make demo`, 1,000 clips of craft_like
    python benchmarks/page.py --clips 100 --rounds 3        a quick look
    python benchmarks/page.py --model mine=runs/mine/export --gallery FOLDER

Starts app.py in a process of its own and stops it afterwards. Each question is a new one, so none is answered from
memory; it is timed from its first byte to the last of the answer, players and bars included.

    query_ms_1000_clips   a description to the best clips (named after the number of clips)
    clip_ms_5s            a 5-second WAV of 16 kHz, uploaded and scored with seven descriptions, upload included

Ends with one line of JSON: medians of rounds in milliseconds.
"""

import argparse
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import soundfile

from raclap.corpora.synthetic import default_cache
from raclap.provenance import processor_name

ROOT = Path(__file__).parents[1]
RATE, SECONDS = 16_000, 5
PERSONS = ("a man", "a woman", "an old man", "an old woman", "a girl", "a boy", "somebody")
MOODS = ("sad", "happy", "angry", "calm", "frightened", "surprised")
PACES = ("slowly", "fast", "in a whisper", "loudly")
PATIENCE = 600.0  # seconds for the gallery to be embedded


@contextmanager
def server(options: list[str]) -> Iterator[httpx.Client]:
    """Starts the page and yields a client of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, ROOT / "app.py", "--port", str(port), *options], cwd=ROOT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/", timeout=60, trust_env=False) as client:
            wait_for(client, process)
            yield client
    finally:
        process.terminate()
        process.wait()


def wait_for(client: httpx.Client, process: subprocess.Popen) -> None:
    """Returns once the page answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"app.py stopped with {process.returncode}")
        try:
            client.get("config").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    sys.exit("app.py does not answer")


def ask(client: httpx.Client, name: str, *data: object) -> str:
    """The HTML that the page answers to a question."""
    event = client.post(f"gradio_api/call/{name}", json={"data": data}).raise_for_status().json()["event_id"]
    lines = client.get(f"gradio_api/call/{name}/{event}").raise_for_status().text.splitlines()
    if "event: complete" not in lines:
        sys.exit(f"{name}: {lines}")
    answer = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))[0]
    if "rc-bar" not in answer:
        sys.exit(f"{name}: {answer}")
    return answer


def upload(client: httpx.Client, clip: bytes) -> dict[str, object]:
    """Uploads a clip and gives it back as the page's questions name it."""
    paths = client.post("gradio_api/upload", files={"files": ("clip.wav", clip)}).raise_for_status().json()
    return {"path": paths[0], "meta": {"_type": "gradio.FileData"}}


def noise(seed: int) -> bytes:
    """Five seconds of another sound each time: the work does not depend on what is heard."""
    samples = np.random.default_rng(seed).normal(scale=0.1, size=RATE * SECONDS).clip(-1, 1)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


def median_ms(rounds: int, question: Callable[[int], object]) -> float:
    """Asks once unmeasured, then `rounds` times."""
    question(rounds)
    times = []
    for round_ in range(rounds):
        begin = time.perf_counter()
        question(round_)
        times.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(times), 1)


def main() -> None:
    """Starts the page, asks, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=FOLDER", help="as of app.py; the first is asked"
    )
    parser.add_argument("--gallery", type=Path, default=default_cache() / "craft_like" / "manifest.parquet")
    parser.add_argument("--clips", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    models = [word for model in arguments.model for word in ("--model", model)]
    clips = [noise(seed) for seed in range(arguments.rounds + 1)]
    texts = [f"{person}, {mood}, speaking {pace}" for mood in MOODS for pace in PACES for person in PERSONS]
    with server([*models, "--gallery", str(arguments.gallery), "--clips", str(arguments.clips)]) as client:
        components = client.get("config").json()["components"]
        model = next(part["props"]["value"] for part in components if part["props"].get("label") == "Model")
        query = median_ms(arguments.rounds, lambda n: ask(client, "find", model, texts[n % len(texts)]))
        descriptions = "\n".join(texts[: len(PERSONS)])
        clip = median_ms(
            arguments.rounds, lambda n: ask(client, "judge", model, upload(client, clips[n]), descriptions)
        )
    found = {f"query_ms_{arguments.clips}_clips": query, f"clip_ms_{SECONDS}s": clip}
    machine = {"cores": os.cpu_count(), "processor": processor_name()}
    print(json.dumps({**found, "model": model, "rounds": arguments.rounds, **machine}))


if __name__ == "__main__":
    main()
