"""What indexing costs beside the bare embedding of the same clips, in one run.

    python benchmarks/indexing.py MODEL CORPUS/manifest.parquet ...                            all clips, five rounds
    python benchmarks/indexing.py MODEL CORPUS/manifest.parquet --clips 100 --rounds 1         a quick look

The bare embedding is `embed_audio`, as an evaluation does it: all clips sorted by length, decoded by two threads as
each batch is asked for. Indexing reads the same manifest and does everything else besides: it looks at every file,
hashes it, compares it with what the index holds, embeds pool by pool, and commits vectors and metadata. Loading the
model is in neither, nor are the disk and a first run: a round of both that is not counted reads all files.

    indexing_over_embedding   seconds of indexing over seconds of bare embedding, all corpora together
    second_run_seconds        of a run that finds nothing to do

Ends with one line of JSON: medians of rounds in which the ways take turns, and the least and the largest ratio.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from raclap.archive import indexing
from raclap.data.inspection import Inspection, inspect_audio
from raclap.data.manifest import read_manifest, write_manifest
from raclap.model_folder import load_model_folder
from raclap.retrieval.embed import embed_audio


class Round(NamedTuple):
    """Seconds of each way."""

    bare: float
    ours: float
    again: float

    @property
    def ratio(self) -> float:
        """Of indexing over the bare embedding."""
        return self.ours / self.bare


def main() -> None:
    """Measures rounds of both ways in turn and prints their ratio."""
    asked = arguments()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} in {torch.get_num_threads()} threads"
    )
    print(f"python {' '.join(sys.argv)}")
    loaded = load_model_folder(asked.model)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(indexing, "load_model_folder", lambda _: loaded):
        manifests = [
            some_rows(path, asked.clips, Path(folder) / f"{n}.parquet") for n, path in enumerate(asked.manifest)
        ]
        rounds = []
        for number in range(asked.rounds + 1):
            rounds.append(one_round(loaded, asked.model, manifests, Path(folder) / f"index{number}"))
            print(f"round {number}: bare {rounds[-1].bare:.2f} s, indexing {rounds[-1].ours:.2f} s, again "
                  f"{rounds[-1].again:.2f} s, ratio {rounds[-1].ratio:.3f}")  # fmt: skip
        clips = sum(len(read_manifest(path)) for path in manifests)
    ratios = [measured.ratio for measured in rounds[1:]]
    figures = {
        "indexing_over_embedding": statistics.median(ratios),
        "least": min(ratios),
        "largest": max(ratios),
        "second_run_seconds": statistics.median(measured.again for measured in rounds[1:]),
    }
    print(json.dumps({"clips": clips, **{name: round(value, 3) for name, value in figures.items()}}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="exported model")
    parser.add_argument("manifest", nargs="+", type=Path, help="of the corpora")
    parser.add_argument("--clips", type=int, help="take so many rows of each (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="that are counted (default 5)")
    return parser.parse_args()


def some_rows(path: Path, clips: int | None, target: Path) -> Path:
    """A manifest of the first rows, or of all."""
    manifest = read_manifest(path)
    write_manifest(target, manifest.rows(range(min(clips or len(manifest), len(manifest)))), manifest.audio_root)
    return target


def inspected(path: Path, features: Any) -> Inspection:
    """What `embed_audio` needs to know beforehand: lengths, from the headers."""
    trim = None if features.trim_silence_db is None else features.trim
    return inspect_audio(read_manifest(path), features.sampling_rate, trim, check="header", progress=False)


def one_round(loaded: tuple[Any, Any], model: Path, manifests: Sequence[Path], index: Path) -> Round:
    """Embeds all clips barely, then indexes them, then indexes them again."""
    corpora = [inspected(path, loaded[1].feature_extractor) for path in manifests]
    began = time.perf_counter()
    for corpus in corpora:
        embed_audio(*loaded, corpus, progress=False)
    bare = time.perf_counter() - began
    return Round(bare, *(indexed(manifests, index, model) for _ in range(2)))


def indexed(manifests: Sequence[Path], index: Path, model: Path) -> float:
    """Seconds of bringing one index of each corpus up to date."""
    began = time.perf_counter()
    for path in manifests:
        indexing.index_archive(path, index / path.stem, model, progress=False)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
