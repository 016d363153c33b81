"""From a recipe to what the loop needs: everything that Accelerate prepares."""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers import get_scheduler

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.augmentation import SpecAugment
from raclap.data.dataset import PairCollator, PairDataset
from raclap.data.inspection import Inspection
from raclap.data.notes import PairNotes
from raclap.data.sampling import MixtureSampler
from raclap.errors import RecipeError
from raclap.processes import on_cpu
from raclap.recipe import AugmentationRecipe, OptimizerRecipe, Recipe
from raclap.training.frozen_text import pool_captions
from raclap.training.loop import LoopSettings

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Session:
    """A prepared training run; `model` may be wrapped for several processes."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    loader: DataLoader
    settings: LoopSettings


def prepare_training(
    recipe: Recipe,
    model: RaClapModel,
    processor: RaClapProcessor,
    corpora: dict[str, Inspection],
    output: Path,
    notes: PairNotes | None = None,
) -> Session:
    """Puts model, optimizer and data on their devices and processes.

    Args:
        recipe: of the run.
        model, processor: what is trained.
        corpora: training rows by corpus.
        output: run folder, for the logs of trackers.
        notes: what a relation must know of each pair.

    Raises:
        RecipeError: the batch cannot be split over the processes, or asks for more pairs than a corpus has.
    """
    accelerator = Accelerator(
        cpu=on_cpu(),
        mixed_precision=recipe.training.mixed_precision,
        log_with=list(recipe.training.trackers) or None,
        project_dir=output,
        # The order of examples is fixed by the sampler; padding the last batch with repeated rows would break it.
        dataloader_config=DataLoaderConfiguration(even_batches=False, use_seedable_sampler=False),
    )
    accelerator.init_trackers("logs")
    model.to(accelerator.device)
    if recipe.objective.audio_logit_scale is not None and recipe.objective.text_logit_scale is not None:
        model.log_logit_scale.requires_grad_(False)  # no direction reads it
    # A teacher that reads the captions of the batch needs their tokens.
    shared_batch = recipe.teacher is not None and recipe.teacher.sees == "crops"
    pooled = None if shared_batch else pool_captions(model, processor, corpora.values())
    augment = _augment(recipe.augmentation)
    collator = PairCollator(processor, augment, pooled, recipe.seed, keep_unmasked=shared_batch)
    loader = _loader(recipe, collator, corpora, notes, accelerator.num_processes)
    optimizer = _OPTIMIZERS[recipe.optimizer.name](
        _parameter_groups(recipe, model),
        lr=recipe.optimizer.learning_rate,
        betas=recipe.optimizer.betas,
        weight_decay=recipe.optimizer.weight_decay,
    )
    model, prepared_optimizer, loader = accelerator.prepare(model, optimizer, loader)
    scheduler = _scheduler(recipe.optimizer, optimizer, recipe.training.epochs * len(loader))
    settings = LoopSettings(
        recipe.training.epochs, recipe.training.batch_size, recipe.seed, recipe.optimizer.max_grad_norm
    )
    return Session(accelerator, model, prepared_optimizer, scheduler, loader, settings)


def _parameter_groups(recipe: Recipe, model: RaClapModel) -> list[dict]:
    """What is trained, each tower at its own rate, everything else at the optimizer's."""
    towers = ((model.audio_model, recipe.model.speech), (model.text_model, recipe.model.text))
    groups, placed = [], set()
    for tower, tower_recipe in towers:
        rate = tower_recipe.learning_rate or recipe.optimizer.learning_rate
        groups.append({"params": [p for p in tower.parameters() if p.requires_grad], "lr": rate})
        placed.update(map(id, tower.parameters()))
    groups.append({"params": [p for p in model.parameters() if p.requires_grad and id(p) not in placed]})
    return [group for group in groups if group["params"]]


def _loader(
    recipe: Recipe,
    collator: PairCollator,
    corpora: dict[str, Inspection],
    notes: PairNotes | None,
    processes: int,
) -> DataLoader:
    batch_size = recipe.training.batch_size
    if batch_size % processes:
        raise RecipeError(f"training.batch_size {batch_size} cannot be split over {processes} processes")
    sampler = MixtureSampler(
        [len(corpus.manifest) for corpus in corpora.values()],
        recipe.shares,
        batch_size,
        recipe.training.steps_per_epoch,
        recipe.seed,
        list(corpora),
    )
    dataset = PairDataset(
        list(corpora.values()), recipe.data.crop_seconds, recipe.seed, recipe.augmentation.speed, notes
    )
    return DataLoader(
        dataset,
        batch_size=batch_size // processes,
        sampler=sampler,
        drop_last=True,
        collate_fn=collator,
        num_workers=recipe.data.workers,
        persistent_workers=recipe.data.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _augment(recipe: AugmentationRecipe) -> SpecAugment | None:
    if not (recipe.time_masks or recipe.mel_masks):
        return None
    return SpecAugment(**recipe.model_dump(exclude={"speed"}))


def _scheduler(recipe: OptimizerRecipe, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    return get_scheduler(
        recipe.schedule,
        optimizer,
        num_warmup_steps=round(recipe.warmup_ratio * steps),
        num_training_steps=steps,
    )
