"""Two processes hold the loss and the gradients of one process with the whole batch."""

import os
from pathlib import Path

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from modeling_raclap.losses_raclap import info_nce
from raclap.training.distributed import gather_with_gradient

PAIRS, INPUTS, D = 12, 7, 5


class TwoProjections(nn.Module):
    """The smallest model with both towers and a temperature."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.audio = nn.Linear(INPUTS, D, dtype=torch.float64)
        self.text = nn.Linear(INPUTS, D, dtype=torch.float64)
        self.log_logit_scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, audio: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            F.normalize(self.audio(audio), dim=-1), F.normalize(self.text(text), dim=-1), self.log_logit_scale.exp(),
        )  # fmt: skip


def loss_and_gradients(model: nn.Module, audio: Tensor, text: Tensor) -> dict[str, Tensor]:
    audio_embeds, text_embeds, scale = model(audio, text)
    loss = info_nce(gather_with_gradient(audio_embeds), gather_with_gradient(text_embeds), scale)
    loss.backward()
    bare = getattr(model, "module", model)
    return {"loss": loss.detach(), **{name: p.grad for name, p in bare.named_parameters()}}


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(PAIRS, INPUTS, dtype=torch.float64, generator=generator) for _ in range(2))


def work(rank: int, world: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29617")
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    share = slice(rank * PAIRS // world, (rank + 1) * PAIRS // world)
    found = loss_and_gradients(DistributedDataParallel(TwoProjections()), *(x[share] for x in inputs()))
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    expected = loss_and_gradients(TwoProjections(), *inputs())
    spawn(work, args=(2, str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)
