"""The folder that the commands of a document are run in, and how they are run."""

import os
import signal
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from snippets.documents import Block, commands_of

LIMIT = 240  # seconds a command


@dataclass(frozen=True)
class World:
    """A folder, and the environment in which commands find the programs, models and caches of the tests alone.

    Attributes:
        folder: where commands of a shell run.
        environment: of all commands.
        python_folder: below it, where blocks of Python run.
    """

    folder: Path
    environment: dict[str, str]
    python_folder: str = "."

    def run(self, block: Block) -> str | None:
        """Runs a Python block, or one command of a shell block, as it stands.

        Returns:
            What went wrong: place, command and the end of its output; None where nothing did.
        """
        command, folder = ["bash", "-euo", "pipefail", "-c", block.text], self.folder
        if block.language == "python":
            # So many lines before it that a traceback names the lines of the document.
            folder = self.folder / self.python_folder
            script = folder / f"{block.document}.{block.line}.py"
            script.write_text("\n" * (block.line - 1) + block.text, encoding="utf-8")
            command = ["python", script.name]
        with subprocess.Popen(
            command, cwd=folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return f"{block.place}: {block.text.strip()}\nnot done after {LIMIT} s"
        return None if process.returncode == 0 else f"{block.place}: {block.text.strip()}\n{said[-3000:]}"

    def run_all(self, blocks: list[Block], elsewhere: Collection[str] = ()) -> list[str]:
        """Runs blocks one after the other, in the state that those before left; shell blocks command by command.

        Args:
            blocks: of one document.
            elsewhere: commands, without their comments, that are not run here.

        Returns:
            What `run` says of those that failed.
        """
        steps = [step for block in blocks for step in ([block] if block.language == "python" else commands_of(block))]
        return [said for step in steps if bare(step) not in elsewhere and (said := self.run(step)) is not None]


def bare(command: Block) -> str:
    """A command without its comment."""
    return command.text.partition("  #")[0].strip()
