"""Streamed training as a user runs it: a killed run, and two processes that share the rows."""

import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import load_file
from torch.multiprocessing import spawn

from conftest import RATE, free_port, kill_in_second_epoch
from raclap.data.dataset import PairDataset
from raclap.data.stream_loader import ProcessMixture, StreamDataset, StreamLoader
from raclap.data.streaming import stream_split
from raclap.recipe import CorpusRecipe

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
STREAMING = [f"data.corpora.{number}.streaming=true" for number in range(3)]


def command(recipe: Path, output: Path, *settings: str) -> list[str]:
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "train.py", "--recipe", str(recipe), "--output", str(output), *words]


def train(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "export_last" / "model.safetensors")


def test_a_killed_and_resumed_run_equals_an_unbroken_one(tmp_path, recipe_file):
    settings = [*STREAMING, "data.shuffle_buffer=7", "data.workers=1", "objective.relation=style"]
    settings.append("training.checkpoint_steps=1")
    unbroken = train(recipe_file, tmp_path / "unbroken", *settings)
    assert unbroken.returncode == 0, unbroken.stderr
    with subprocess.Popen(
        command(recipe_file, tmp_path / "killed", *settings), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        kill_in_second_epoch(process, tmp_path / "killed")
    resumed = train(recipe_file, tmp_path / "killed", *settings)
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "unbroken")
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    builds = json.loads((tmp_path / "unbroken" / "data.json").read_text())
    assert builds["train"]["large"].keys() == {"pairs", "captions", "bytes", "files_sha256"}
    assert builds["train"]["large"]["pairs"] == 72 and builds["validation"]["large"]["captions"] == 24


def name_of(pair, row: int, caption: int) -> dict:
    return {"pair": (pair.corpus, pair.pair_id)}


def names(examples) -> dict:
    return {"pairs": [example.notes["pair"] for example in examples]}


def draw(rank: int, world: int, port: int, folder: str, manifests: list[str]) -> None:
    """Twelve global batches as one of the processes draws them, gathered."""
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    corpora = {
        path: stream_split(CorpusRecipe(name=path, manifest=path, streaming=True), "train", RATE, None)
        for path in manifests
    }
    mixture = ProcessMixture(tuple(len(corpus.manifest) for corpus in corpora.values()), (1, 1, 2), 16, world)
    examples_of = partial(PairDataset, crop_seconds=0.1, notes=name_of)
    dataset = StreamDataset(corpora, mixture, rank, 5, 0, False, examples_of, names)
    steps = []
    for batch in StreamLoader(dataset, 12, workers=1):
        parts = [None] * world
        torch.distributed.all_gather_object(parts, batch["pairs"])
        steps.append(parts)
    if rank == 0:
        (Path(folder) / "steps.json").write_text(json.dumps(steps))
    torch.distributed.destroy_process_group()


def test_two_processes_draw_different_rows_in_an_exact_mixture(tmp_path, corpora):
    manifests = [str(path) for path in corpora.values()]
    spawn(draw, args=(2, free_port(), str(tmp_path), manifests), nprocs=2)
    steps = json.loads((tmp_path / "steps.json").read_text())
    for parts in steps:
        pairs = [tuple(pair) for part in parts for pair in part]
        assert len(set(pairs)) == 16
        for part in parts:
            assert Counter(corpus for corpus, _ in part) == {"small": 2, "medium": 2, "large": 4}
    # Of 18 rows, 16 make a pass of four steps for both processes.
    for first in range(0, 12, 4):
        rows = [pair_id for parts in steps[first : first + 4] for part in parts for corpus, pair_id in part
                if corpus == "small"]  # fmt: skip
        assert len(set(rows)) == len(rows) == 16
