"""What figures depend on: versions of the libraries, the machine, and the weights of a model, told by their hashes."""

import hashlib
import importlib.metadata
import os
import platform
import time
from pathlib import Path

import raclap

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "soundfile", "soxr")


def versions() -> dict[str, str]:
    """Versions of what the figures depend on, and the machine."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "raclap": raclap.__version__,
        "python": platform.python_version(),
        **found,
        "machine": f"{processor_name()}, {os.cpu_count()} cores",
        "system": platform.platform(terse=True),
        "date": time.strftime("%Y-%m-%d"),
    }


def weights_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each weights file (`*.safetensors`) of a model folder, by name: which model figures are of."""
    return {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; an `OSError` is the caller's to tell."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processor_name() -> str:
    """What the processor calls itself."""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
