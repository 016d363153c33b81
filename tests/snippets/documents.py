"""Fenced blocks of a Markdown document, and the commands of those that are for a shell."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        document: name of the file.
        line: where the text begins, from 1.
        language: what stands after the fence, may be empty.
        text: with a line break at its end.
    """

    document: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """All fenced blocks, in order."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(document.name, text[: match.start("text")].count("\n") + 1, match["language"], dedent(match["text"]))
        for match in _FENCE.finditer(text)
    ]
    fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
    assert fences == 2 * len(found), f"{document.name}: a fence is not closed, or is written in another way"
    return found


def commands_of(block: Block) -> Iterator[Block]:
    """The commands of a shell block, one a block: lines that belong together stay so, comments go."""
    pending, start = "", 0
    for number, line in enumerate(block.text.splitlines(keepends=True), start=block.line):
        if not pending:
            start = number
            if not line.strip() or line.lstrip().startswith("#"):
                continue
        pending += line
        if _is_complete(pending):
            yield Block(block.document, start, block.language, pending)
            pending = ""
    assert not pending, f"{block.document}:{start}: bash waits for more: {pending}"


def _is_complete(text: str) -> bool:
    checked = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
    return checked.returncode == 0 and not checked.stderr and not text.rstrip("\n").endswith("\\")
