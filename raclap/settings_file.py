"""Reading YAML that people write: one clear error whatever is wrong with the file."""

from pathlib import Path
from typing import Any

import yaml

from raclap.errors import RaClapError


def read_settings(path: Path, kind: str, error: type[RaClapError]) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: of the file.
        kind: what it is, for the message ("a recipe").
        error: what to raise.

    Raises:
        error: the file cannot be read, is not YAML or holds no mapping; the message names it.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror})") from cause
    except (UnicodeDecodeError, yaml.YAMLError) as cause:
        raise error(f"{path}: not valid YAML ({cause})") from cause
    if not isinstance(values, dict):
        raise error(f"{path}: {kind} is a mapping of keys, not {type(values).__name__}")
    return values
