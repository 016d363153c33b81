"""Figures of every step, from the TensorBoard logs of a run."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Figures = dict[str, list[tuple[int, float]]]

_ALL = {"scalars": 0}  # how many to keep; 0 is no limit


def read_step_log(folder: Path) -> Figures:
    """`{name: [(step, value)]}` of all event files of a folder, by step; empty where there are none.

    A step that was run again after an interruption counts as it was run last.
    """
    steps: dict[str, dict[int, tuple[float, float]]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        log = EventAccumulator(str(file), _ALL)
        log.Reload()
        for name in log.Tags()["scalars"]:
            own = steps.setdefault(name, {})
            for event in log.Scalars(name):
                if event.step not in own or own[event.step][0] <= event.wall_time:
                    own[event.step] = (event.wall_time, event.value)
    return {name: [(step, value) for step, (_, value) in sorted(own.items())] for name, own in steps.items()}
