"""Searching an archive of speech by how it sounds: windows of recordings, their vectors, and what is near a query.

    from raclap.archive import ArchiveSearch, index_archive

The names are looked up when they are asked for: a command that needs one part does not wait for the libraries of all.
"""

import importlib.util
import os
from importlib import import_module
from typing import Any

from raclap.errors import RaClapError

# LanceDB reads it once, when it is imported. Its warnings are of what raclap has seen to; its errors are raised, too.
os.environ.setdefault("LANCEDB_LOG", "error")

_PACKAGES = ("lancedb", "numba", "ruptures")
_HOMES = {
    "ArchiveSearch": "searching",
    "DatasetOptions": "dataset_address",
    "IndexReport": "indexing",
    "IndexSettings": "indexing",
    "Moment": "moments",
    "Query": "queries",
    "SearchOptions": "searching",
    "index_archive": "indexing",
}

__all__ = list(_HOMES)


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RaClapError(f"Searching archives needs the package {missing[0]}: pip install 'raclap[archive]'")


_check_packages()  # here, so that no way into the package ends in a traceback


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
