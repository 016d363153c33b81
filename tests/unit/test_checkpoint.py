"""Checkpoints hold what is alike in all processes, and the place of each process."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from raclap.errors import RecipeError
from raclap.training.checkpoint import Checkpoints, Progress


class Place:
    """Somewhere in the data."""

    def __init__(self, number: int):
        self.number = number

    def state_dict(self) -> dict:
        return {"number": self.number, "nested": [None, {"a": 1}]}

    def load_state_dict(self, state: dict) -> None:
        assert state["nested"] == [None, {"a": 1}]
        self.number = state["number"]


class Weights:
    """Something with tensors."""

    def __init__(self, value: float):
        self.value = torch.tensor([value])

    def state_dict(self) -> dict:
        return {"value": self.value}

    def load_state_dict(self, state: dict) -> None:
        self.value = state["value"]


@pytest.fixture
def session():
    accelerator = Accelerator(cpu=True)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    accelerator.prepare(model, optimizer)
    return accelerator, scheduler


def test_the_place_of_each_process_comes_back(tmp_path, session):
    Checkpoints(tmp_path, {"more": Weights(2.0)}, {"stream": Place(7)}).save(*session, Progress(1, 3, 0.5))
    weights, place = Weights(0.0), Place(0)
    assert Checkpoints(tmp_path, {"more": weights}, {"stream": place}).resume(*session) == Progress(1, 3, 0.5)
    assert weights.value.item() == 2.0 and place.number == 7


def test_a_run_does_not_go_on_with_another_number_of_processes(tmp_path, session):
    Checkpoints(tmp_path, own={"stream": Place(7)}).save(*session, Progress(0, 5))
    folder = tmp_path / "epoch-0000-step-000005"
    (folder / "stream-00001.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"step-000005: saved by 2 processes, .* cannot go on with 1"):
        Checkpoints(tmp_path, own={"stream": Place(0)}).resume(*session)
    assert Checkpoints(tmp_path).resume(*session) == Progress(0, 5)
