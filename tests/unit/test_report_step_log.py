"""Figures of every step, read back from event files."""

import pytest
from torch.utils.tensorboard import SummaryWriter

from raclap.report.step_log import read_step_log


def test_steps_of_all_files_in_order_and_as_they_were_run_last(tmp_path):
    with SummaryWriter(tmp_path, filename_suffix=".a") as writer:
        for step in range(4):
            writer.add_scalar("train/loss", 4.0 - step, step, walltime=100 + step)
    with SummaryWriter(tmp_path, filename_suffix=".b") as writer:
        for step in range(3, 6):
            writer.add_scalar("train/loss", 0.5 * step, step, walltime=200 + step)
    found = read_step_log(tmp_path)["train/loss"]
    assert [step for step, _ in found] == [0, 1, 2, 3, 4, 5]
    assert [value for _, value in found] == pytest.approx([4.0, 3.0, 2.0, 1.5, 2.0, 2.5])


def test_no_logs_no_figures(tmp_path):
    assert read_step_log(tmp_path / "logs") == {}
