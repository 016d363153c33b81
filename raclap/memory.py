"""Keeping freed memory: what makes a training step on a CPU several times faster.

A step allocates and frees gigabytes of activations. The C library gives every large block back to the system and
takes fresh, zeroed pages at the next step; on virtual machines each such page is a fault that the host must serve.
"""

import ctypes
import os
import sys

# Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Makes the C library keep freed blocks for the next step, and asks for huge pages.

    Call it before torch is imported: torch reads its setting once. Where the C library is not glibc nothing is done.

    Returns:
        Whether the settings were taken.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20), (_ARENA_MAX, 1))
    return all(mallopt(ctypes.c_int(parameter), ctypes.c_int(value)) == 1 for parameter, value in settings)
