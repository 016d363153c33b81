"""The contrastive loss tile by tile against its plain form, forward and backward, side by side in one run.

    python benchmarks/loss.py                          both losses at a global batch of 8,192, as the bars ask
    python benchmarks/loss.py --pairs 2048 --rounds 7  near the batch where `form="auto"` changes over
    python benchmarks/loss.py --threads 1              one core, where products weigh most and the tiles gain least

Two losses are measured: InfoNCE, and the divergence from a teacher's cosines (kl). The plain form is the one of
raclap/training/contrastive_loss.py: one matrix of logits, cross_entropy and kl_div on it, autograd for the rest.

Time is the median of runs in turn, tiled and plain, in one process; a ratio below 1 means that the tiles are quicker.
The tiles compute products twice (four for three, six for four with a teacher) to save writing whole matrices. What a
written matrix costs depends on the C library, so time is taken both ways, each in a process of its own:

    kept      freed memory is kept (raclap.memory), as train.py and distill.py do: the ratios without a suffix
    fresh     the library's defaults, where each matrix takes fresh pages from the system: suffix _fresh_memory

Memory is the growth of the peak of resident memory over one forward and backward pass, the gradients of the embeddings
included, in a process of its own for each figure. It is measured with the library's defaults: memory that is kept for
later would count as if it were needed at once. This part needs Linux with glibc.

Ends with one line of JSON. --large measures the tiled form alone, since plain would need some 10 GB and more.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOSSES = ("infonce", "kl")
FORMS = ("tiled", "plain")
SCALE = 14.3  # 1 / 0.07, where training starts


def main() -> None:
    """Measures each figure in a process of its own and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8192, help="global batch B (default 8192)")
    parser.add_argument("--dim", type=int, default=512, help="joint size D (default 512)")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each form (default 5)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: one a core)")
    parser.add_argument(
        "--large", type=int, default=32_768, help="batch for the tiled form's memory alone; 0 skips it (default 32768)"
    )
    asked = parser.parse_args()
    size = (asked.pairs, asked.dim, asked.threads)
    print(f"{asked.pairs} pairs, {asked.dim} dimensions")
    figures = {}
    for loss in LOSSES:
        tiled, plain = (apart(peak_growth, loss, form, *size) for form in FORMS)
        figures[f"{loss}_memory_ratio"] = round(tiled / plain, 4)
        print(f"{loss}: tiled {tiled / 1e6:.0f} MB, plain {plain / 1e6:.0f} MB, 1/{plain / tiled:.1f}")
        if asked.large:
            large = apart(peak_growth, loss, "tiled", asked.large, asked.dim, asked.threads) / 1e6
            figures[f"{loss}_memory_mb_{asked.large}"] = round(large, 1)
            print(f"{loss}: tiled {large:.0f} MB at {asked.large} pairs")
    for memory in ("kept", "fresh"):
        for loss in LOSSES:
            tiled, plain = apart(median_times, loss, memory, asked.rounds, *size)
            suffix = "" if memory == "kept" else "_fresh_memory"
            figures[f"{loss}_time_ratio{suffix}"] = round(tiled / plain, 4)
            print(f"{loss}, {memory} memory: tiled {tiled:.3f} s, plain {plain:.3f} s")
    print(json.dumps({"pairs": asked.pairs, "dim": asked.dim, **figures}))


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` returns in a new process; this one never imports torch, so it starts small and unset."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def median_times(
    loss: str, memory: str, rounds: int, pairs: int, dim: int, threads: int | None
) -> tuple[float, float]:
    """Median seconds of the tiled and the plain form, run in turn on the same embeddings."""
    if memory == "kept":
        from raclap.memory import keep_freed_memory

        if not keep_freed_memory():
            print("  this C library cannot be told to keep memory: kept is as fresh")
    step = made_up_step(loss, pairs, dim, threads)
    seconds = {form: [] for form in FORMS}
    for number in range(rounds + 1):
        for form in FORMS:
            began = time.perf_counter()
            step(form)
            if number:  # the first is a warm-up
                seconds[form].append(time.perf_counter() - began)
    for form in FORMS:
        print(f"  {form}: {', '.join(f'{value:.2f}' for value in seconds[form])} s")
    return statistics.median(seconds["tiled"]), statistics.median(seconds["plain"])


def peak_growth(loss: str, form: str, pairs: int, dim: int, threads: int | None) -> int:
    """Bytes by which the peak of resident memory grows over one step."""
    # A small run first, so that the threads and buffers of the libraries are not counted.
    made_up_step(loss, 64, dim, threads)(form)
    step = made_up_step(loss, pairs, dim, threads)
    # Making the embeddings took more memory than they hold. What is free goes back to the system, and the peak starts
    # anew: writing 5 to clear_refs does that.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_memory()
    step(form)
    return peak_memory() - before


def peak_memory() -> int:
    """Bytes of this process's highest resident memory since it was last reset; Linux alone tells."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def made_up_step(loss: str, pairs: int, dim: int, threads: int | None) -> Callable[[str], None]:
    """Forward and backward of one loss in a given form, on embeddings as a middling model gives them."""
    import torch
    import torch.nn.functional as F

    from raclap.training.contrastive_loss import contrastive_loss
    from raclap.training.relations import TeacherCosines

    if threads:
        torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)

    def pair() -> list[torch.Tensor]:
        common = torch.randn(pairs, dim, generator=generator)
        return [F.normalize(torch.randn(pairs, dim, generator=generator).add_(common), dim=1) for _ in range(2)]

    audio, text = (embeds.requires_grad_() for embeds in pair())
    scale = torch.tensor(SCALE, requires_grad=True)
    relation = TeacherCosines(*pair(), temperature=1 / SCALE) if loss == "kl" else None
    identity_weight = 0.0 if loss == "kl" else 1.0

    def step(form: str) -> None:
        audio.grad = text.grad = scale.grad = None
        contrastive_loss(
            audio, text, scale, scale, relation, identity_weight=identity_weight, form=form
        ).loss.backward()

    return step


if __name__ == "__main__":
    main()
