"""Resumable state: whole folders only, the newest complete one is where a run goes on."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from raclap.errors import RecipeError

_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: the epoch under way, from 0.
        step: steps done within it.
        best: the best validation figure so far; None before the first.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None


class Stateful(Protocol):
    """Something whose state is tensors."""

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes them back."""


class Positioned(Protocol):
    """Something that is at another place in each process, which it tells in values that JSON knows."""

    def state_dict(self) -> dict[str, Any]:
        """The place in this process."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""


class Checkpoints:
    """The folder of a run's checkpoints.

    Args:
        folder: where they lie, one folder each.
        more: what has state beside model, optimizer and scheduler, by name of file; equal on all processes.
        own: what has a state of its own in each process, by the beginning of the names of files.
        keep: how many of the newest to keep.
    """

    def __init__(
        self,
        folder: Path,
        more: Mapping[str, Stateful] | None = None,
        own: Mapping[str, Positioned] | None = None,
        keep: int = 2,
    ):
        self._folder = folder
        self._more = more or {}
        self._own = own or {}
        self._keep = keep

    def save(self, accelerator: Accelerator, scheduler: LRScheduler, progress: Progress) -> None:
        """Saves model, optimizer and scheduler; called by every process.

        The folder gets its name when it is whole, so that a killed run never leaves half a checkpoint behind.
        """
        name = f"epoch-{progress.epoch:04d}-step-{progress.step:06d}"
        beside = self._folder / f".{name}"
        if accelerator.is_main_process:
            shutil.rmtree(beside, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(beside), safe_serialization=True)
        for file, positioned in self._own.items():
            path = beside / _own_file(file, accelerator.process_index)
            path.write_text(json.dumps(positioned.state_dict()), encoding="utf-8")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            state = {**dataclasses.asdict(progress), "scheduler": scheduler.state_dict()}
            # Accelerate would pickle the state of registered objects, and unpickle whatever lies there.
            for file, stateful in self._more.items():
                tensors = {key: value.detach().cpu().clone() for key, value in stateful.state_dict().items()}
                save_file(tensors, beside / f"{file}.safetensors")
            (beside / _PROGRESS).write_text(json.dumps(state, indent=2))
            shutil.rmtree(self._folder / name, ignore_errors=True)
            beside.rename(self._folder / name)
            for old in self._complete()[: -self._keep]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def resume(self, accelerator: Accelerator, scheduler: LRScheduler) -> Progress:
        """Loads the newest complete checkpoint; without one, the run starts at the beginning.

        Raises:
            RecipeError: what has a state of its own in each process was saved by another number of processes.
        """
        complete = self._complete()
        if not complete:
            return Progress()
        self._check_processes(complete[-1], accelerator.num_processes)
        accelerator.load_state(str(complete[-1]))
        for file, stateful in self._more.items():
            stateful.load_state_dict(load_file(complete[-1] / f"{file}.safetensors"))
        for file, positioned in self._own.items():
            path = complete[-1] / _own_file(file, accelerator.process_index)
            positioned.load_state_dict(json.loads(path.read_text(encoding="utf-8")))
        state = json.loads((complete[-1] / _PROGRESS).read_text())
        scheduler.load_state_dict(state.pop("scheduler"))
        return Progress(**state)

    def _check_processes(self, checkpoint: Path, processes: int) -> None:
        for file in self._own:
            before = len(list(checkpoint.glob(f"{file}-*.json")))
            if before != processes:
                raise RecipeError(
                    f"{checkpoint}: saved by {before} processes, each at a place of its own in the data; the run "
                    f"cannot go on with {processes}"
                )

    def _complete(self) -> list[Path]:
        return sorted(folder.parent for folder in self._folder.glob(f"epoch-*/{_PROGRESS}"))


def _own_file(name: str, process: int) -> str:
    return f"{name}-{process:05d}.json"
