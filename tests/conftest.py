"""Small worlds for tests: a tone corpus whose captions are true, and tiny encoders built in code."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the library that reads it once is imported

import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from raclap.data.manifest import Caption, Pair, write_manifest
from raclap.hub.export import export
from raclap.recipe import read_recipe
from raclap.training.towers import build_model

torch.set_num_threads(1)

RATE = 16_000
PITCHES = {"low": 120.0, "normal": 220.0, "high": 400.0}
VOLUMES = {"quiet": 0.03, "loud": 0.5}
WORDS = [
    "a",
    "the",
    "low",
    "normal",
    "high",
    "quiet",
    "loud",
    "voice",
    "speaks",
    "in",
    "sounds",
    "and",
    "pitched",
    "person",
    "with",
    "of",
    "tone",
    "it",
    "is",
]


def pytest_configure(config: pytest.Config) -> None:
    """Knows the marks on the tests of transformers, where `TRANSFORMERS_TESTS` names their folder."""
    if "TRANSFORMERS_TESTS" in os.environ:
        flash = [f"flash_attn_{version}test" for version in ("", "3_", "4_")]
        for mark in (*flash, "accelerate_tests", "order", "slow", "torch_compile_test"):
            config.addinivalue_line("markers", f"{mark}: of transformers")


def tone(pitch: float, volume: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A harmonic tone with a little noise: (S,) float32."""
    time = np.arange(round(seconds * RATE)) / RATE
    harmonics = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 6))
    return (volume * (harmonics / 3 + 0.02 * rng.standard_normal(len(time)))).astype(np.float32)


def make_corpus(folder: Path, name: str, sizes: dict[str, int], seed: int = 0) -> Path:
    """Writes a tone corpus and returns its manifest."""
    rng = np.random.default_rng([seed, len(name)])
    pairs = []
    for split, size in sizes.items():
        for index in range(size):
            pitch, volume = list(PITCHES)[index % 3], list(VOLUMES)[index // 3 % 2]
            pair_id = f"{name}-{split}-{index}"
            samples = tone(PITCHES[pitch] * rng.uniform(0.95, 1.05), VOLUMES[volume], rng.uniform(0.3, 0.7), rng)
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{pair_id}.flac", samples, RATE)
            captions = (
                Caption(f"a {volume} {pitch} voice", ("pitch", "volume")),
                Caption(f"the person speaks in a {pitch} tone", ("pitch",)),
            )
            pairs.append(
                Pair(
                    pair_id, f"{pair_id}.flac", captions, name, split, speaker=f"{split}{index % 4}",
                    emotion=pitch, attributes={"pitch": pitch, "volume": volume},
                    style_key=f"pitch={pitch}|volume={volume}",
                )
            )  # fmt: skip
    path = folder / name / "manifest.parquet"
    write_manifest(path, pairs, folder / name)
    return path


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over `WORDS`."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=32,
    )  # fmt: skip


def tiny_bert_config(dropout: float = 0.0) -> BertConfig:
    """A text tower of a few thousand weights."""
    return BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip


def free_port() -> int:
    """A port on which processes of a test can meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kill_in_second_epoch(process: subprocess.Popen, output: Path) -> None:
    """Kills a run that saves every step, so that both the epoch and the step have to be gone on with."""
    limit = time.monotonic() + 120
    while not list((output / "checkpoints").glob("epoch-0001-step-00000[1-3]")):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pretrained text encoder with its tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("text")
    torch.manual_seed(0)
    BertModel(tiny_bert_config(dropout=0.1)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tone corpora of unequal size: name to manifest."""
    folder = tmp_path_factory.mktemp("corpora")
    sizes = {"small": (18, 12), "medium": (36, 12), "large": (72, 12)}
    return {
        name: make_corpus(folder, name, {"train": train, "validation": rest, "test": rest})
        for name, (train, rest) in sizes.items()
    }


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory, text_folder: Path, corpora: dict[str, Path]) -> Path:
    """A recipe that trains in seconds."""
    listed = "\n".join(f"    - {{name: {name}, manifest: {path}}}" for name, path in corpora.items())
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(
        f"""
name: tiny
model:
  speech: {{config: {{model_type: raclap_ecapa_tdnn, channels: 32, mfa_channels: 48, hidden_size: 24,
    se_channels: 16, attention_channels: 16}}}}
  text: {{pretrained: {text_folder}}}
  projection_dim: 32
data:
  corpora:
{listed}
  crop_seconds: 0.5
  workers: 0
optimizer: {{learning_rate: 0.003}}
training: {{batch_size: 12, epochs: 2, steps_per_epoch: 4}}
"""
    )
    return path


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Path:
    """The model of `recipe_file` as it starts, exported."""
    torch.manual_seed(3)
    model, processor = build_model(read_recipe(recipe_file).model)
    folder = tmp_path_factory.mktemp("teacher") / "export"
    export(model, processor, folder, card="")
    return folder


@pytest.fixture(scope="session")
def speech_folder() -> Path:
    """Real recordings; tests that ask for them are skipped where there are none."""
    beside = Path(__file__).parents[2] / "shared" / "speech"
    folder = Path(os.environ.get("RACLAP_SPEECH", beside))
    if not folder.is_dir():
        pytest.skip("no real recordings (set RACLAP_SPEECH)")
    return folder
