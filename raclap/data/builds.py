"""Which build of its corpora a run learns from, so that it never goes on with another one unnoticed."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from raclap.data.collection import select_rows
from raclap.data.manifest import Manifest
from raclap.recipe import DataRecipe

# Of each split a run learns from, or chooses its model by.
_SPLITS = ("train", "validation")

Builds = dict[str, dict[str, dict[str, Any]]]


def corpus_builds(recipe: DataRecipe) -> Builds:
    """What tells one build of a recipe's corpora from another.

    Two builds are the same when their rows are, whatever folder they lie in, and when their recordings have the same
    sizes in bytes. Sizes are not looked at where the recipe says that no recording is to be opened beforehand.

    Args:
        recipe: which manifests, and how many of their rows.

    Returns:
        `{split: {corpus: {"pairs", "captions", "bytes", "sha256"}}}`; `bytes` is None where not looked at.

    Raises:
        ManifestError: a manifest is not as it should be, or has no rows of a split.
    """
    sizes = recipe.audio_check != "none" or recipe.keep_in_memory
    return {
        split: {
            corpus.name: _build(
                select_rows(corpus.manifest, split, corpus.audio_root, corpus.pairs if split == "train" else None),
                sizes,
            )
            for corpus in recipe.corpora
        }
        for split in _SPLITS
    }


def changed_builds(stored: Builds, now: Builds) -> list[str]:
    """One phrase for each corpus and split that is not what it was: how many pairs, or that their contents differ."""
    return [
        f"{corpus}, {split}: {_change(stored.get(split, {}).get(corpus), build)}"
        for split, by_name in now.items()
        for corpus, build in by_name.items()
        if stored.get(split, {}).get(corpus) != build
    ]


def _change(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    if before is None:
        return "not known before"
    for what in ("pairs", "captions", "bytes"):
        if before[what] != now[what]:
            return f"{before[what]} {what} then, {now[what]} now"
    return "as many rows, with other contents"


def _build(rows: Manifest, sizes: bool) -> dict[str, Any]:
    digest = hashlib.sha256()
    captions = size = 0
    for pair in rows:
        own = _size(rows, pair) if sizes else None
        digest.update(json.dumps([asdict(pair), own], sort_keys=True).encode())
        captions += len(pair.captions)
        size += own or 0
    return {"pairs": len(rows), "captions": captions, "bytes": size if sizes else None, "sha256": digest.hexdigest()}


def _size(rows: Manifest, pair: Any) -> int | None:
    path = rows.audio_path(pair)
    # What is missing is reported, or left out, where the recordings are opened.
    return path.stat().st_size if path.is_file() else None
