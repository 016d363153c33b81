"""Which build of its corpora a run learns from, so that it never goes on with another one unnoticed."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclap.data.collection import select_rows
from raclap.data.manifest import Manifest, find_manifest, pairs_of
from raclap.data.mapped_table import files_digest
from raclap.recipe import CorpusRecipe, DataRecipe

# Of each split a run learns from, or chooses its model by.
_SPLITS = ("train", "validation")

_ROWS = 16_384  # go into the digest together; another number makes another digest

Builds = dict[str, dict[str, dict[str, Any]]]


def corpus_builds(recipe: DataRecipe) -> Builds:
    """What tells one build of a recipe's corpora from another.

    Two builds are the same when their rows are, whatever folder or file they lie in, and when their recordings have
    the same sizes in bytes. Sizes are not looked at where the recipe says that no recording is to be opened
    beforehand. Of rows that are streamed, the files are compared and not the rows.

    Args:
        recipe: which manifests, and how many of their rows.

    Returns:
        `{split: {corpus: {"pairs", "captions", "bytes", "rows_sha256" or "files_sha256"}}}`; None what was not looked
        at.

    Raises:
        ManifestError: a manifest is not as it should be, or has no rows of a split.
    """
    sizes = recipe.audio_check != "none" or recipe.keep_in_memory or recipe.cache is not None
    return {
        split: {corpus.name: _corpus_build(corpus, split, sizes) for corpus in recipe.corpora} for split in _SPLITS
    }


def changed_builds(stored: Builds, now: Builds) -> list[str]:
    """One phrase for each corpus and split that is not what it was: how many pairs, or that their contents differ.

    A digest is compared where both have it: runs of earlier versions recorded another.
    """
    changes = [
        (corpus, split, _change(stored.get(split, {}).get(corpus), build))
        for split, by_name in now.items()
        for corpus, build in by_name.items()
    ]
    return [f"{corpus}, {split}: {change}" for corpus, split, change in changes if change]


def _change(before: dict[str, Any] | None, now: dict[str, Any]) -> str | None:
    if before is None:
        return "not known before"
    for what in ("pairs", "captions", "bytes"):
        if before[what] != now[what]:
            return f"{before[what]} {what} then, {now[what]} now"
    digests = {name for name in before.keys() & now.keys() if name.endswith("sha256")}
    return "as many rows, with other contents" if any(before[name] != now[name] for name in digests) else None


def _corpus_build(corpus: CorpusRecipe, split: str, sizes: bool) -> dict[str, Any]:
    if corpus.streaming and split == "train":
        files = find_manifest(corpus.manifest, corpus.audio_root)
        known = {"pairs": files.count(split), "captions": None, "bytes": None}
        return {**known, "files_sha256": files_digest(files)}
    pairs = corpus.pairs if split == "train" else None
    return _build(select_rows(corpus.manifest, split, corpus.audio_root, pairs, corpus.streaming), sizes)


def _build(rows: Manifest, sizes: bool) -> dict[str, Any]:
    digest = hashlib.sha256()
    captions = size = 0
    for table in rows.tables(_ROWS):
        for column in table.columns:
            _digest_values(digest, column.combine_chunks())
        captions += pc.sum(pc.list_value_length(table["captions"])).as_py()
        if sizes:
            own = _sizes(rows, table)
            digest.update(own.tobytes())
            size += int(own[own > 0].sum())
    return {
        "pairs": len(rows), "captions": captions, "bytes": size if sizes else None, "rows_sha256": digest.hexdigest(),
    }  # fmt: skip


def _digest_values(digest: Any, values: pa.Array) -> None:
    """Adds the values of a column, and nothing of how Arrow happens to keep them.

    What lies under a null, and where a slice begins in its buffers, are no part of the values.
    """
    digest.update(np.packbits(values.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_struct(values.type):
        for field in values.flatten():
            _digest_values(digest, field)
    elif pa.types.is_list(values.type):
        digest.update(pc.fill_null(pc.list_value_length(values), 0).to_numpy().tobytes())
        _digest_values(digest, pc.list_flatten(values))
    elif pa.types.is_string(values.type):
        texts = pc.fill_null(values, "")
        digest.update(pc.binary_length(texts).to_numpy().tobytes())
        digest.update(_bytes_of(texts))
    else:
        digest.update(pc.fill_null(values, 0).to_numpy().tobytes())


def _bytes_of(texts: pa.StringArray) -> memoryview:
    """All texts joined, in UTF-8; a slice shares the buffers of the whole."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return memoryview(b"")
    borders = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[borders[0] : borders[-1]]


def _sizes(rows: Manifest, table: pa.Table) -> np.ndarray:
    """(N,) bytes of each recording; -1 of one that is missing, which is reported where the recordings are opened."""
    paths = (rows.audio_path(pair) for pair in pairs_of(table))
    return np.fromiter((path.stat().st_size if path.is_file() else -1 for path in paths), np.int64, len(table))
