"""Embedding manifests: clips and captions to unit vectors, length by length, on one process or many.

Clips of like length share a batch, which saves padding; an embedding does not depend on its neighbours.

Shapes: N rows, D joint size.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.processes import join_processes

_CLIPS, _PADDED_SECONDS, _CAPTIONS = 64, 240.0, 256


@dataclass(frozen=True)
class PairEmbeddings:
    """(N, D) float32 unit vectors of the clips and of the first caption of each row."""

    audio: Tensor
    text: Tensor


def embed_pairs(
    model: RaClapModel, processor: RaClapProcessor, corpus: Inspection, progress: bool = True
) -> PairEmbeddings:
    """Embeds every clip of a manifest and its first caption.

    Under several processes each embeds its part and all return everything.

    Args:
        model: on the device to use; its mode is put back afterwards.
        processor: the one it was trained with.
        corpus: inspected rows.
        progress: show progress bars.
    """
    training = model.training
    model.eval()
    try:
        audio = embed_audio(model, processor, corpus, progress)
        text = embed_text(model, processor, [row[0]["text"] for row in corpus.manifest.column("captions")])
    finally:
        model.train(training)
    return PairEmbeddings(audio, text)


@torch.inference_mode()
def embed_audio(model: RaClapModel, processor: RaClapProcessor, corpus: Inspection, progress: bool = True) -> Tensor:
    """Embeds clips in batches of like length: (N, D) float32 on the CPU."""
    window = processor.feature_extractor.longest_seconds  # a tower that has one reads it whole, however short a clip
    batches = batches_by_length(corpus.seconds if window is None else np.full_like(corpus.seconds, window))
    with ThreadPoolExecutor(max_workers=2) as pool:

        def embed(rows: Sequence[int]) -> np.ndarray:
            return embed_waveforms(model, processor, list(pool.map(corpus.waveform, rows)))

        return _on_all_processes(batches, embed, f"embedding {corpus.manifest.path.parent.name}", progress)


@torch.inference_mode()
def embed_waveforms(model: RaClapModel, processor: RaClapProcessor, waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Embeds one batch of (S,) waveforms at the tower's rate, trimmed as configured: (B, D) float32."""
    inputs = processor(audio=list(waveforms), prepared=True).to(model.device)
    return model.get_audio_features(**inputs).pooler_output.float().cpu().numpy()


@torch.inference_mode()
def embed_text(model: RaClapModel, processor: RaClapProcessor, captions: Sequence[str]) -> Tensor:
    """Embeds captions, each distinct one once: (N, D) float32 on the CPU."""
    distinct, places = np.unique(np.asarray(captions, dtype=object).astype(str), return_inverse=True)
    order = np.argsort([len(caption) for caption in distinct], kind="stable")
    batches = [order[first : first + _CAPTIONS].tolist() for first in range(0, len(order), _CAPTIONS)]

    def embed(rows: Sequence[int]) -> np.ndarray:
        inputs = processor(text=[str(distinct[row]) for row in rows]).to(model.device)
        return model.get_text_features(**inputs).pooler_output.float().cpu().numpy()

    return _on_all_processes(batches, embed, "embedding captions", progress=False)[places]


def batches_by_length(seconds: np.ndarray) -> list[list[int]]:
    """Rows in order of length, longest first, so that memory runs out at once or not at all.

    Args:
        seconds: (N,) durations; NaN where unknown.
    """
    batches: list[list[int]] = []
    longest = 0.0
    for row in np.argsort(-np.nan_to_num(seconds), kind="stable").tolist():
        full = not batches or len(batches[-1]) == _CLIPS or (len(batches[-1]) + 1) * longest > _PADDED_SECONDS
        if full:
            batches.append([])
            longest = seconds[row] if np.isfinite(seconds[row]) else _PADDED_SECONDS / _CLIPS
        batches[-1].append(row)
    return batches


def _on_all_processes(
    batches: list[list[int]], embed: Callable[[Sequence[int]], np.ndarray], title: str, progress: bool
) -> Tensor:
    """Deals batches to the processes in turn, and puts the rows of all of them back in order."""
    state = join_processes()
    mine = batches[state.process_index :: state.num_processes]
    bar = tqdm(mine, desc=title, unit="batch", disable=not (progress and state.is_main_process))
    parts = gather_object([(rows, embed(rows)) for rows in bar])
    embeds = np.concatenate([vectors for _, vectors in parts])
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    return torch.from_numpy(embeds[order])
