"""The processes of a run, found the same way by every script."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def on_cpu() -> bool:
    """Whether the run is on the CPU: no accelerator is there, or ACCELERATE_USE_CPU says so.

    Accelerate looks for other processes on the CPU only when it is told so; else each of them would silently train
    the whole run by itself.
    """
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def join_processes() -> PartialState:
    """Joins the processes that a launcher started; alone, this process is the only one."""
    return PartialState(cpu=on_cpu())
