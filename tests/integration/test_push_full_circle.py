"""A model to a Hub and back: `raclap push` in one process, `AutoModel` in another that cannot import raclap."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import RATE, tone
from fresh_process import AWAY_FROM_HERE
from loopback_hub import WRITER, LoopbackHub
from raclap.model_folder import load_model_folder

TEXTS = ["a low voice", "a loud voice"]
PROBE = (
    AWAY_FROM_HERE
    + """
repo, revision, clip, texts = sys.argv[1:]
from pathlib import Path
from huggingface_hub import snapshot_download
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained(repo, revision=revision, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(repo, revision=revision, trust_remote_code=True)
folder = Path(snapshot_download(repo, revision=revision))
again = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
inputs = processor(text=json.loads(texts), audio=clip)
print(json.dumps({"logits": [m(**inputs).logits_per_audio.tolist() for m in (model, again)], "folder": str(folder),
                  "module": type(model).__module__}))
"""
)


@pytest.fixture(scope="module")
def world(teacher_folder, tmp_path_factory):
    """A Hub, the folder to send, and an environment that knows that Hub and nothing else."""
    place = tmp_path_factory.mktemp("circle")
    folder = place / "model"
    shutil.copytree(teacher_folder, folder)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n\n# A model\n")
    with LoopbackHub(part_size=150_000) as hub:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_TOKEN")}
        environment |= {
            "HF_ENDPOINT": hub.url, "HF_HOME": str(place / "home"), "HF_MODULES_CACHE": str(place / "modules"),
            "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITER,
        }  # fmt: skip
        yield hub, folder, environment, place


def raclap(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "from raclap.cli import main; main()", *map(str, words)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_pushed_model_comes_back_the_same(world):
    hub, folder, environment, place = world
    done = raclap(environment, "push", folder, "user/circle", "--revision", "trial", "--private")
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["user/circle"]
    commit = repository.heads["trial"]
    assert repository.private and commit in done.stdout and set(repository.heads) == {"main", "trial"}
    assert "model.safetensors" in done.stderr  # the client's progress bar

    clip = place / "clip.wav"
    soundfile.write(clip, tone(200, 0.3, 0.6, np.random.default_rng(0)), RATE)
    loaded = subprocess.run(
        [sys.executable, "-c", PROBE, "user/circle", "trial", str(clip), json.dumps(TEXTS)],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout.splitlines()[-1])
    assert commit in found["folder"] and found["module"].startswith("transformers_modules")

    # The downloaded folder passes the checks of this package too: in the Hub's cache its files are links.
    expected = []
    for path in (folder, Path(found["folder"])):
        model, processor = load_model_folder(path)
        with torch.no_grad():
            expected.append(model(**processor(text=TEXTS, audio=clip)).logits_per_audio)
    torch.testing.assert_close(expected[0], expected[1], rtol=0, atol=0)
    for logits in found["logits"]:
        torch.testing.assert_close(torch.tensor(logits), expected[0], rtol=1e-5, atol=1e-5)


def test_the_client_tells_what_it_lacks(world):
    hub, folder, environment, _ = world
    calls = len(hub.calls)
    without = {name: value for name, value in environment.items() if name != "HF_TOKEN"}
    for changed, message in (
        (without, "error: no token: log in with 'hf auth login', or set HF_TOKEN\n"),
        (environment | {"HF_HUB_OFFLINE": "1"}, "error: HF_HUB_OFFLINE is set, so nothing can be sent"),
    ):
        refused = raclap(changed, "push", folder, "user/none")
        assert refused.returncode == 2 and refused.stderr.startswith(message), refused.stderr
    assert len(hub.calls) == calls
