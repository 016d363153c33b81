"""The programs that commands of a document find on PATH, and the environment in which they find them."""

import subprocess
import sys
import time
from pathlib import Path

import torch
from test_published_clap import roberta_tokenizer
from transformers import RobertaConfig, RobertaModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

from conftest import make_tokenizer

HERE = Path(__file__).parent
PROGRAMS = {"python": "python", "python3": "python", "raclap": "raclap", "accelerate": "accelerate"}
# They change the machine, or reach for a network.
REFUSED = ("pip", "pip3", "hf", "huggingface-cli", "git", "docker", "sudo", "apt-get", "apt", "curl", "wget")
LOADED = (
    "torch", "transformers", "transformers.pipelines", "transformers.models.bert.modeling_bert", "raclap.experiment",
    "raclap.commands", "raclap.corpora.preparation", "raclap.retrieval.reporting", "raclap.retrieval.zero_shot",
    "sklearn.metrics", "matplotlib.pyplot", "accelerate.commands.launch", "torch.utils.tensorboard",
)  # fmt: skip
PATIENCE = 120  # seconds until the server is there


def start_programs(folder: Path, text_tower: Path) -> tuple[subprocess.Popen, dict[str, str]]:
    """Starts the server of programs, and puts `python`, `raclap`, `accelerate` and what is refused into a folder.

    Args:
        folder: to make, for the programs, the socket and caches.
        text_tower: what training takes as its text encoder.

    Returns:
        The server, to be killed with its process group, and the environment for commands.
    """
    programs = folder / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, kind in PROGRAMS.items():
        _put_script(programs / name, f'exec "{sys.executable}" -IS "{HERE / "client.py"}" {kind} "$@"')
    for name in REFUSED:
        _put_script(
            programs / name, f'echo "{name} is not run by tests: list this command as one that is not" >&2; exit 1'
        )
    (programs.parent / ".installed").touch()  # make need not install what is there
    socket, log = folder / "socket", folder / "server.log"
    environment = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "VENV": str(programs.parent),
        "SNIPPETS_SERVER": str(socket),
        "SNIPPETS_TEXT_TOWER": str(text_tower),
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "COLUMNS": "120",
    }
    _put_encoders(folder / "huggingface" / "hub")
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), str(socket), *LOADED],
            env=environment, cwd=HERE, start_new_session=True, stdout=output, stderr=output,
        )  # fmt: skip
    limit = time.monotonic() + PATIENCE
    while not socket.exists():
        if server.poll() is not None or time.monotonic() > limit:
            server.kill()
            raise AssertionError(f"the server of programs did not start: {log.read_text()}")
        time.sleep(0.05)
    return server, environment


def _put_script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def _put_encoders(hub: Path) -> None:
    """The encoders that documents join, tiny, as the Hub's client keeps what it has fetched."""
    torch.manual_seed(0)
    speech = WavLMConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(32, 32, 32),
        conv_stride=(5, 4, 4), conv_kernel=(10, 4, 4), num_feat_extract_layers=3, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    text = RobertaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40,
    )  # fmt: skip
    encoders = {
        "microsoft/wavlm-base-plus": (WavLMModel(speech), Wav2Vec2FeatureExtractor()),
        "FacebookAI/roberta-base": (RobertaModel(text), make_tokenizer()),
        "ibm-granite/granite-embedding-278m-multilingual": (text, roberta_tokenizer()),
    }
    for name, parts in encoders.items():
        repository = hub / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        for part in parts:
            part.save_pretrained(repository / "snapshots" / ("0" * 40))
