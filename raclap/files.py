"""Whole files or none: everything is written beside its target and renamed over it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yields a path beside `target`; when the block succeeds it is renamed over `target`.

    Args:
        target: the file that is to exist, whole, afterwards. Its folder is made when missing.

    Yields:
        A path in the same folder with the same suffix, for the block to write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o666 & ~_umask())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yields a folder beside `target`; when the block succeeds it takes the place of `target`.

    Its files become as readable as others of the user: safetensors makes its own for the owner alone.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    beside.chmod(0o777 & ~_umask())
    try:
        yield beside
        for path in beside.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o666 & ~_umask())
        former = beside.with_name(beside.name + "-former")
        if target.exists():
            target.rename(former)
        beside.rename(target)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Writes text in UTF-8, whole or not at all."""
    with replacing(target) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _umask() -> int:
    """Permission bits that the user withholds; reading them means setting them for a moment."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
