"""Ranking in tiles against sorting the whole score matrix, both directions, side by side in one run.

    python benchmarks/metrics.py --n 5000

Ends with one line of JSON: the time and the peak memory of the tiles, each as a share of the plain form's.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from raclap.retrieval.metrics import RetrievalScores, rank_pairs
from raclap.retrieval.relevance import StyleRelevance

VALUES = {"pitch": 3, "speed": 3, "energy": 3, "sex": 2, "emotion": 8}


def main() -> None:
    """Measures the memory of each form in a process of its own, then times both in turn."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--n", type=int, default=5000, help="pairs")
    arguments.add_argument("--dim", type=int, default=512, help="joint size")
    arguments.add_argument("--rounds", type=int, default=3, help="timed runs of each form")
    asked = arguments.parse_args()

    print(f"{asked.n} pairs, {asked.dim} dimensions, {torch.get_num_threads()} threads")
    # Memory first: the peak that a process reports starts from the size of the process that started it.
    tiled_memory, plain_memory = (peak_growth(form, asked.n, asked.dim) for form in ("tiled", "plain"))
    print(f"tiled {tiled_memory / 2**20:.0f} MiB, plain {plain_memory / 2**20:.0f} MiB above the embeddings")
    tiled, plain = times(asked.n, asked.dim, asked.rounds)
    print(f"tiled {tiled:.2f} s, plain {plain:.2f} s")
    ratios = {
        "ranking_time_ratio": round(tiled / plain, 4),
        "ranking_memory_ratio": round(tiled_memory / plain_memory, 4),
    }
    print(json.dumps({"n": asked.n, "dim": asked.dim, **ratios}))


def times(n: int, dim: int, rounds: int) -> tuple[float, float]:
    """Median seconds of the tiled and the plain form, run in turn on the same embeddings."""
    audio, text, relevance = made_up_pairs(n, dim)
    tiled, plain = [], []
    for number in range(rounds + 1):
        start = time.perf_counter()
        scores = rank_pairs(audio, text, relevance)
        middle = time.perf_counter()
        sorted_ranks = rank_by_sorting(audio, text, relevance)
        end = time.perf_counter()
        if number == 0:
            print(f"warm-up; {agreement(scores, sorted_ranks):.2%} of the instance ranks are equal")
            continue
        tiled.append(middle - start)
        plain.append(end - middle)
        print(f"round {number}: tiled {tiled[-1]:.2f} s, plain {plain[-1]:.2f} s")
    return statistics.median(tiled), statistics.median(plain)


def made_up_pairs(n: int, dim: int) -> tuple[Tensor, Tensor, StyleRelevance]:
    """Embeddings as a middling model gives them: clips near their style, captions near their clip."""
    generator = torch.Generator().manual_seed(0)
    codes = {name: torch.randint(count, (n,), generator=generator) for name, count in VALUES.items()}
    centres = {name: torch.randn(count, dim, generator=generator) for name, count in VALUES.items()}
    style = sum(centres[name][codes[name]] for name in VALUES)
    audio = style + 1.5 * torch.randn(n, dim, generator=generator)
    text = audio + 15 * torch.randn(n, dim, generator=generator)
    rows = [dict(zip(codes, map(str, row), strict=True)) for row in torch.stack([*codes.values()], 1).tolist()]
    asked = torch.rand(n, len(VALUES), generator=generator) < 0.7
    names = [tuple(name for name, named in zip(VALUES, row, strict=True) if named) for row in asked.tolist()]
    relevance = StyleRelevance.from_rows(rows, [row or ("sex",) for row in names])
    return F.normalize(audio, dim=1), F.normalize(text, dim=1), relevance


def rank_by_sorting(audio: Tensor, text: Tensor, relevance: StyleRelevance) -> dict[str, dict[str, Tensor]]:
    """The plain form: whole matrices of scores and gains, one sort a direction."""
    everything = torch.arange(len(audio))
    scores, gains = audio @ text.T, relevance.share(everything, everything)
    return {
        "audio_to_text": read_off(scores, gains),
        "text_to_audio": read_off(scores.T, gains.T),
    }


def read_off(scores: Tensor, gains: Tensor) -> dict[str, Tensor]:
    """Per-query values of sorted score rows (N, N) and their gains (N, N)."""
    N = len(scores)
    order = scores.argsort(1, descending=True)
    found = gains.gather(1, order)
    relevant = found == 1
    discount = 1 / torch.arange(2, 12).log2()
    precision = relevant[:, :10].cumsum(1) / torch.arange(1, 11)
    return {
        "instance_rank": (order == torch.arange(N).unsqueeze(1)).int().argmax(1) + 1,
        "style_rank": relevant.int().argmax(1) + 1,
        "style_average_precision": (precision * relevant[:, :10]).sum(1) / relevant.sum(1).clamp(max=10),
        "normalised_gain": found[:, :10] @ discount / (gains.sort(1, descending=True)[0][:, :10] @ discount),
    }


def agreement(scores: RetrievalScores, plain: dict[str, dict[str, Tensor]]) -> float:
    """Share of equal instance ranks; rounding of near-equal scores may part a few."""
    equal = [torch.from_numpy(scores[d].instance_rank) == plain[d]["instance_rank"] for d in plain]
    return torch.cat(equal).double().mean().item()


def peak_growth(form: str, n: int, dim: int) -> int:
    """Bytes by which the peak of resident memory grows while one form runs, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (form, n, dim))


def _growth(form: str, n: int, dim: int) -> int:
    # A small run first, so that the threads and buffers of the libraries are not counted.
    run = {"tiled": rank_pairs, "plain": rank_by_sorting}[form]
    run(*made_up_pairs(64, dim))
    pairs = made_up_pairs(n, dim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(*pairs)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    main()
