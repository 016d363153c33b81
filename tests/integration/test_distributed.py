"""Two processes hold the loss and the gradients of one process with the whole batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from conftest import free_port
from modeling_raclap.losses_raclap import info_nce
from raclap.training import tiled_loss
from raclap.training.contrastive_loss import contrastive_loss
from raclap.training.distributed import gather_with_gradient
from raclap.training.relations import TeacherCosines

PAIRS, INPUTS, D = 12, 7, 5
# Objective and form; the sharp teacher takes the tiles' exponentials with shifts of their own.
CASES = [(name, form) for name in ("InfoNCE", "teacher", "sharp teacher") for form in ("plain", "tiled")]


class TwoProjections(nn.Module):
    """The smallest model with both towers and a temperature for each direction."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.audio = nn.Linear(INPUTS, D, dtype=torch.float64)
        self.text = nn.Linear(INPUTS, D, dtype=torch.float64)
        self.log_logit_scales = nn.Parameter(torch.tensor([1.5, 2.0], dtype=torch.float64))

    def forward(self, audio: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            F.normalize(self.audio(audio), dim=-1), F.normalize(self.text(text), dim=-1), self.log_logit_scales.exp(),
        )  # fmt: skip


def loss_and_gradients(model: nn.Module, audio: Tensor, text: Tensor, case: tuple[str, str]) -> dict[str, Tensor]:
    name, form = case
    audio_embeds, text_embeds, scales = model(audio, text)
    if name == "InfoNCE":
        loss = contrastive_loss(audio_embeds, text_embeds, *scales, form=form)
    else:
        relation = teacher(0.2 if name == "teacher" else 0.01)
        loss = contrastive_loss(audio_embeds, text_embeds, *scales, relation, 0.8, 0.3, form=form)
    loss.loss.backward()
    found = {"loss": loss.loss.detach(), **gradients_of(model)}
    return found if loss.target_entropy is None else {"entropy": loss.target_entropy, **found}


def gathered_info_nce(model: nn.Module, audio: Tensor, text: Tensor) -> dict[str, Tensor]:
    audio_embeds, text_embeds, scales = model(audio, text)
    loss = info_nce(gather_with_gradient(audio_embeds), gather_with_gradient(text_embeds), scales[0])
    loss.backward()
    return {"loss": loss.detach(), **gradients_of(model)}


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in getattr(model, "module", model).named_parameters()}


def inputs(dim: int = INPUTS, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(PAIRS, dim, dtype=torch.float64, generator=generator) for _ in range(2))


def teacher(temperature: float) -> TeacherCosines:
    return TeacherCosines(*(F.normalize(x, dim=1) for x in inputs(dim=9, seed=2)), temperature)


def everything(wrap, audio: Tensor, text: Tensor) -> dict[str, dict[str, Tensor]]:
    found = {"/".join(case): loss_and_gradients(wrap(TwoProjections()), audio, text, case) for case in CASES}
    return {"gathered info_nce": gathered_info_nce(wrap(TwoProjections()), audio, text), **found}


def work(rank: int, world: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    tiled_loss._CPU_TILE = (4, 5)  # a process has several rows of tiles, and none divides its share
    share = slice(rank * PAIRS // world, (rank + 1) * PAIRS // world)
    torch.save(everything(DistributedDataParallel, *(x[share] for x in inputs())), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, args=(2, free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", ["gathered info_nce", *map("/".join, CASES)])
def test_two_processes_equal_one(of_two_processes, case):
    expected = everything(lambda model: model, *inputs())[case]
    for found in of_two_processes:
        assert found[case].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[case][name], value, rtol=1e-11, atol=1e-12)
