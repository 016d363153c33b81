"""The one training loop: a generator, so that the script is the callback.

for report in train_epochs(...):
    evaluate; save
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from accelerate import Accelerator, skip_first_batches
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

from modeling_raclap import RaClapModel
from raclap.data.stream_loader import StreamLoader
from raclap.errors import RaClapError
from raclap.training.checkpoint import Progress
from raclap.training.objectives import Objective, StepLoss

_SMOOTHING = 0.9


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to.

    Attributes:
        epoch: from 0.
        loss: mean over the steps run since the run was last started; None if it stopped after the epoch's last step.
        figures: means of the objective's other figures over the same steps.
        steps: number of them.
        pairs_per_second: global pairs over the time of those steps.
        logit_scale: at the end.
        layer_weights: α of Eq. (2), by modality, at the end.
    """

    epoch: int
    loss: float | None
    figures: dict[str, float]
    steps: int
    pairs_per_second: float
    logit_scale: float
    layer_weights: dict[str, list[float]]


@dataclass(frozen=True)
class LoopSettings:
    """Numbers the loop needs.

    Attributes:
        epochs: in all.
        global_batch_size: pairs of a step, over all processes.
        seed: of dropout; every step has its own, so that a resumed run equals an unbroken one.
        max_grad_norm: clipping; None: off.
    """

    epochs: int
    global_batch_size: int
    seed: int
    max_grad_norm: float | None


def train_epochs(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler,
    loader: DataLoader | StreamLoader,
    objective: Objective,
    settings: LoopSettings,
    start: Progress = Progress(),  # noqa: B008 - frozen
    after_step: Callable[[Progress], None] = lambda _: None,
) -> Iterator[EpochReport]:
    """Trains, and yields after each epoch.

    Args:
        accelerator: has prepared model, optimizer and loader (the scheduler steps once a step and is not prepared).
        model: a `RaClapModel`, maybe wrapped.
        optimizer, scheduler: of its trainable parameters.
        loader: one batch of this process a step.
        objective: the loss.
        settings: see `LoopSettings`.
        start: where to go on.
        after_step: called with the progress after each step, to save within an epoch or to follow the model.

    Yields:
        One report an epoch.

    Raises:
        RaClapError: the loss is not finite.
    """
    bare: RaClapModel = accelerator.unwrap_model(model)
    for epoch in range(start.epoch, settings.epochs):
        first = start.step if epoch == start.epoch else 0
        batches = _rest_of_epoch(loader, epoch, first)
        set_train(bare)
        meter = _Meter(bare, settings.global_batch_size)
        bar = tqdm(
            batches,
            initial=first,
            total=len(loader),
            desc=f"epoch {epoch + 1}/{settings.epochs}",
            unit="step",
            disable=not accelerator.is_main_process,
        )
        for step, batch in enumerate(bar, start=first):
            number = epoch * len(loader) + step
            torch.manual_seed(_step_seed(settings.seed, number, accelerator.process_index))
            with accelerator.autocast():
                loss = objective(model, batch, number)
            figures = _update(accelerator, model, optimizer, loss, settings.max_grad_norm)
            bare.clamp_logit_scale_()
            scheduler.step()
            meter.update(figures)
            bar.set_postfix_str(meter.line(), refresh=False)
            accelerator.log(meter.figures(scheduler), step=number)
            after_step(Progress(epoch, step + 1, start.best))
        yield meter.report(epoch)


def _rest_of_epoch(loader: DataLoader | StreamLoader, epoch: int, first: int) -> DataLoader | StreamLoader:
    """What gives the batches of an epoch from a step on; a stream was put there when its checkpoint was read."""
    loader.set_epoch(epoch)
    return skip_first_batches(loader, first) if first and not isinstance(loader, StreamLoader) else loader


def set_train(model: RaClapModel) -> None:
    """Training mode; frozen towers stay in eval mode, so that they always say the same."""
    model.train()
    for tower in (model.audio_model, model.text_model):
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            tower.eval()


def _update(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: StepLoss,
    max_grad_norm: float | None,
) -> dict[str, float]:
    value = loss.value.item()
    if not math.isfinite(value):
        raise RaClapError(f"the loss became {value}; a lower optimizer.learning_rate or bf16 may help")
    accelerator.backward(loss.value)
    if max_grad_norm is not None:
        accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return {"loss": value, **{name: figure.item() for name, figure in loss.figures.items()}}


def _step_seed(seed: int, step: int, process: int) -> int:
    return (seed * 1_000_003 + step) * 1_009 + process


class _Meter:
    """Figures of the epoch under way."""

    def __init__(self, model: RaClapModel, global_batch_size: int):
        self._model = model
        self._pairs = global_batch_size
        self._began = perf_counter()
        self._steps: list[dict[str, float]] = []
        self._smooth = 0.0

    def update(self, figures: dict[str, float]) -> None:
        loss = figures["loss"]
        self._smooth = loss if not self._steps else _SMOOTHING * self._smooth + (1 - _SMOOTHING) * loss
        self._steps.append(figures)

    def line(self) -> str:
        scale = self._model.logit_scale.item()
        weights = "".join(f" {name} layers {_short(alpha)}" for name, alpha in self._layer_weights().items())
        return f"loss {self._smooth:.3f} {self._speed():.0f} pairs/s τ {1 / scale:.4f}{weights}"

    def figures(self, scheduler: LRScheduler) -> dict[str, float]:
        figures = {
            **{f"train/{name}": value for name, value in self._steps[-1].items()},
            "train/logit_scale": self._model.logit_scale.item(),
            "train/learning_rate": scheduler.get_last_lr()[0],
            "train/pairs_per_second": self._speed(),
        }
        for name, alpha in self._layer_weights().items():
            figures.update({f"layer_weights/{name}_{layer}": value for layer, value in enumerate(alpha)})
        return figures

    def report(self, epoch: int) -> EpochReport:
        names = self._steps[0] if self._steps else ()
        means = {name: sum(figures[name] for figures in self._steps) / len(self._steps) for name in names}
        return EpochReport(
            epoch=epoch,
            loss=means.pop("loss", None),
            figures=means,
            steps=len(self._steps),
            pairs_per_second=self._speed(),
            logit_scale=self._model.logit_scale.item(),
            layer_weights=self._layer_weights(),
        )

    def _layer_weights(self) -> dict[str, list[float]]:
        return {name: alpha.tolist() for name, alpha in self._model.layer_weights.items()}

    def _speed(self) -> float:
        return self._pairs * len(self._steps) / (perf_counter() - self._began)


def _short(alpha: list[float]) -> str:
    """The layer that weighs most, and how much: enough for one line."""
    top = max(range(len(alpha)), key=alpha.__getitem__)
    return f"max α_{top}={alpha[top]:.2f}"
