"""What lies in the world of a document: every file that its commands name, small.

The repository's scripts, recipes and documents are copies. Recordings are tones, corpora those of the tests of their
readers.
"""

import io
import shutil
import tarfile
from pathlib import Path

import datasets
import pandas
import torch
from corpus_fixtures import FIXTURES, write_tone
from test_published_clap import published

from conftest import make_corpus
from snippets.world import World

ROOT = Path(__file__).parents[2]
COPIED = ("*.py", "Makefile", "README.md", "model_card.md", "constraints.txt", "setup.cfg")
COPIED_FOLDERS = ("configuration", "docs", "examples", "metrics", "modeling_raclap", "raclap")


def make_world(folder: Path, environment: dict[str, str], runs: dict[str, Path]) -> World:
    """A world for one document.

    Args:
        folder: to make.
        environment: of `start_programs`.
        runs: name to run folder, of those that the document takes as done.
    """
    home, work = folder / "home", folder / "work"
    home.mkdir(parents=True)
    work.mkdir()
    for path in (path for pattern in COPIED for path in ROOT.glob(pattern)):
        shutil.copy2(path, work)  # with its age: make looks at it
    for name in COPIED_FOLDERS:
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, run in runs.items():
        shutil.copytree(run, work / "runs" / name)
    (work / "RECIPE.yaml").write_text("extends: configuration/ravdess/emotion.yaml\nname: mine\n")
    _put_corpora(work, home / ".cache" / "raclap" / "corpora")
    _put_recordings(work)
    _put_tables(work)
    _put_data_sets(work)
    (work / "downloads").mkdir()
    torch.save(published("paraspeechclap").state_dict(), work / "downloads" / "FILE.pth.tar")
    return World(work, {**environment, "HOME": str(home)})


def _put_corpora(work: Path, cache: Path) -> None:
    sizes = {"train": 24, "validation": 24, "test": 12}
    for name in ("prompt_like", "textrol_like", "craft_like"):
        make_corpus(cache, name, sizes)
        write_tone(cache / name / "audio" / "test" / "a.flac")
    for name in ("CORPUS", "corpus", "more"):
        make_corpus(work, name, sizes)
    FIXTURES["textrolspeech"](work / "PATH" / "TO" / "TextrolSpeech")
    for actor in ("01", "02", "16", "19"):
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02d}-01-01-01-{actor}.wav"
            write_tone(work / "PATH" / "TO" / "ravdess" / f"Actor_{actor}" / name, pitch=100.0 + 30 * emotion)


def _put_recordings(work: Path) -> None:
    """Recordings under the names that documents give them; no two are alike."""
    names = (
        "a.wav", "b.flac", "voice.wav", "anna.wav", "take1.wav", "take2.wav", "take3.wav", "takes/01.wav",
        "out/001/a.wav", "out/001/b.wav", "out/002/a.wav", "voices/anna.wav", "clips/a.wav", "clips/b.wav",
        "recordings/train/angry/1.wav", "recordings/test/calm/2.wav", "talkers/train/ann/1.wav",
    )  # fmt: skip
    for number, name in enumerate(names):
        write_tone(work / name, seconds=0.5, pitch=120.0 + 15 * number)


def _put_tables(work: Path) -> None:
    takes = pandas.DataFrame(
        {
            "id": ["line-001", "line-001", "line-002"],
            "prompt": ["a young woman, excited"] * 3,
            "candidate": ["out/001/a.wav", "out/001/b.wav", "out/002/a.wav"],
            "reference": ["voices/anna.wav"] * 3,
        }
    )
    takes.to_csv(work / "candidates.csv", index=False)
    takes.to_csv(work / "takes.csv", index=False)
    renamed = takes.rename(columns={"prompt": "style", "candidate": "wav", "id": "utterance"})
    renamed.drop(columns="reference").to_parquet(work / "runs.parquet")
    clips = {"file": ["a.wav", "b.flac"], "description": ["a low voice", "a high voice"], "who": ["ann", "bob"]}
    pandas.DataFrame({**clips, "split": ["train", "test"]}).to_csv(work / "clips.csv", index=False)
    renamed = {"file": "path", "description": "caption", "who": "speaker"}
    pandas.DataFrame(clips).rename(columns=renamed).to_csv(work / "voices.csv", index=False)
    voices = {
        "clip": ["/old/disk/a.wav", "/old/disk/b.wav"], "how it sounds": ["a low voice", "a high voice"],
        "in short": ["low", "high"], "who": ["ann", "bob"], "register": ["low", "high"], "mood": ["calm", "angry"],
        "part": ["extra", "holdout"],
    }  # fmt: skip
    pandas.DataFrame(voices).to_csv(work / "voices.tsv", sep="\t", index=False)
    labels = {
        "path": ["clips/a.wav", "clips/b.wav"], "emotion": ["angry", "calm"], "sex": ["F", "M"],
        "speaker": ["ann", "bob"], "split": ["train", "test"],
    }  # fmt: skip
    pandas.DataFrame(labels).to_csv(work / "labels.csv", index=False)


def _put_data_sets(work: Path) -> None:
    """Two AudioFolders, Parquet with the recordings in its rows, and ten WebDataset shards."""
    FIXTURES["audio_folder"](work / "described")
    for number, name in enumerate(("a", "b")):
        write_tone(work / "moods" / f"{name}.wav", pitch=120.0 + 60 * number)
    (work / "moods" / "metadata.csv").write_text("file_name,mood\na.wav,calm\nb.wav,angry\n")
    samples = (work / "a.wav").read_bytes()
    (work / "shards").mkdir()
    row = {"audio": {"bytes": samples, "path": "a.wav"}, "caption": "A calm voice."}
    datasets.Dataset.from_list([row]).to_parquet(work / "shards" / "train.parquet")
    (work / "tars").mkdir()
    for number in range(10):
        with tarfile.open(work / "tars" / f"{number:03d}.tar", "w") as shard:
            for name, content in (("clip.wav", samples), ("clip.txt", b"A calm voice.")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
