"""Embeddings of gallery clips, kept on disk between starts of the page.

One safetensors file a model: a name says of which weights and settings, a row says of which clip, both by SHA-256.

Shapes: N clips, D joint size.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from raclap import __version__
from raclap.files import replacing
from raclap.provenance import sha256_of
from raclap.retrieval.rerank import Reranker

_ROWS, _CLIPS = "audio_embeds", "clips"


def embed_kept(
    reranker: Reranker, model_folder: Path, clips: Sequence[Path], kept_in: Path
) -> tuple[dict[Path, Tensor], dict[str, str]]:
    """Embeds clips, those that were embedded before from what was kept.

    Args:
        reranker: of the model.
        model_folder: that it was loaded from.
        clips: recordings.
        kept_in: folder of the kept embeddings; it is made when missing.

    Returns:
        (D,) float32 unit vectors by clip, in order; and reasons by path of clips that cannot be used.
    """
    file = kept_in / f"{_hash_of_model(model_folder)}.safetensors"
    known = _read(file)
    hashes = {clip: sha256_of(clip) for clip in clips if clip.is_file()}
    new = [clip for clip in clips if hashes.get(clip) not in known]
    embeds, bad = reranker.embed_files(new, skip_bad=True) if new else ({}, {})
    if embeds:
        known |= {hashes[Path(path)]: embed for path, embed in embeds.items()}
        _write(file, known)
    return {clip: known[hashes[clip]] for clip in clips if hashes.get(clip) in known}, bad


def _hash_of_model(folder: Path) -> str:
    """Of all that decides an embedding: weights, settings, and the release of the code."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    return hashlib.sha256("\n".join([__version__, *map(sha256_of, files)]).encode()).hexdigest()


def _read(file: Path) -> dict[str, Tensor]:
    """Embeddings by hash; none where the file is missing or damaged, as they can be computed again."""
    try:
        with safe_open(file, framework="pt") as kept:
            hashes = json.loads(kept.metadata()[_CLIPS])
            return dict(zip(hashes, kept.get_tensor(_ROWS), strict=True))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return {}


def _write(file: Path, embeds: dict[str, Tensor]) -> None:
    with replacing(file) as beside:
        save_file({_ROWS: torch.stack(list(embeds.values()))}, beside, metadata={_CLIPS: json.dumps(list(embeds))})
