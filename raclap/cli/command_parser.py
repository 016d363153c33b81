"""A parser of one command, which may learn its arguments only when the command is called."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """Where what is needed to know the arguments takes long to import, other commands need not wait for it."""

    _late: Callable[["CommandParser"], None] | None = None

    def add_later(self, add: Callable[["CommandParser"], None]) -> None:
        """Calls `add` with this parser before it is used."""
        self._late = add

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As its base class, which `parse_args` and parsers of commands go through."""
        late, self._late = self._late, None
        if late is not None:
            late(self)
        return super().parse_known_args(args, namespace)
