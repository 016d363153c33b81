"""Reading YAML that people write: one clear error whatever is wrong with the file.

A key written twice is an error: YAML would silently keep the last.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raclap.errors import RaClapError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no mapping has a key twice."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Reads a mapping and looks at its keys."""
        node = super().compose_mapping_node(anchor)
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                first, second = (each.start_mark.line + 1 for each in (seen[key.value], key))
                raise yaml.YAMLError(f"line {second}: '{key.value}' is written twice, first in line {first}")
            seen[key.value] = key
        return node


def read_settings(path: Path, kind: str, error: type[RaClapError]) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: of the file.
        kind: what it is, for the message ("a recipe").
        error: what to raise.

    Raises:
        error: the file cannot be read, is not YAML or holds no mapping, or one with a key twice; the message
            names it.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror})") from cause
    except (UnicodeDecodeError, yaml.YAMLError) as cause:
        raise error(f"{path}: not valid YAML ({cause})") from cause
    if not isinstance(values, dict):
        raise error(f"{path}: {kind} is a mapping of keys, not {type(values).__name__}")
    return values


def explained(path: Path, error: ValidationError, suggestion: Callable[[Sequence[str]], str] = lambda _: "") -> str:
    """What is wrong with a file that holds no valid settings: a line for each key.

    Args:
        path: of the file.
        error: what pydantic found.
        suggestion: given the parts of a key that is unknown, what to add to the line.
    """
    lines = []
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            message = "unknown key" + suggestion(parts)
        elif problem["type"] == "missing":
            message = "missing"
        key = ".".join(parts)
        lines.append(f"{path}: {f'key {key!r}: ' if key else ''}{message}")
    return "\n".join(lines)
