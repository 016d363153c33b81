"""From a recipe to what the loop needs: everything that Accelerate prepares."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
from raclap.data.class_balance import ClassBalancedSampler, class_weights
from raclap.data.dataset import PairCollator, PairDataset
from raclap.data.inspection import Inspection
from raclap.data.manifest import Manifest
from raclap.data.notes import PairNotes
from raclap.data.sampling import MixtureSampler
from raclap.data.stream_loader import LeftOutList, ProcessMixture, StreamDataset, StreamLoader
from raclap.data.streaming import StreamedCorpus
from raclap.data.waveform_augmentation import WaveformAugmentation
from raclap.errors import RecipeError
from raclap.processes import on_cpu
from raclap.recipe import AugmentationRecipe, ObjectiveRecipe, OptimizerRecipe, Recipe
from raclap.training.frozen_text import pool_captions
from raclap.training.loop import LoopSettings

_MOST_THREADS = 8  # more wait for one another
_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Session:
    """A prepared training run; `model` may be wrapped for several processes."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    loader: DataLoader | StreamLoader
    settings: LoopSettings


def prepare_training(
    recipe: Recipe,
    model: RaClapModel,
    processor: RaClapProcessor,
    corpora: Mapping[str, Inspection | StreamedCorpus],
    output: Path,
    notes: PairNotes | None = None,
) -> Session:
    """Puts model, optimizer and data on their devices and processes.

    Args:
        recipe: of the run.
        model, processor: what is trained.
        corpora: training rows by corpus.
        output: run folder, for the logs of trackers and the list of bad recordings of streamed corpora.
        notes: what a relation must know of each pair.

    Raises:
        RecipeError: the batch cannot be split over the processes, or asks for more pairs than a corpus has; or no
            clip has a tag of a group that is to be balanced, or too few have a rare one.
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
    freeze_what_nothing_reads(recipe.objective, model)
    if recipe.training.gradient_checkpointing:
        checkpoint_speech(model)
    # A teacher that reads the captions of the batch needs their tokens.
    shared_batch = recipe.teacher is not None and recipe.teacher.sees == "crops"
    in_batches = shared_batch or recipe.data.streams  # of rows that are streamed no caption is known beforehand
    pooled = None if in_batches else pool_captions(model, processor, corpora.values())
    augment = _augment(recipe.augmentation)
    flat = processor.feature_extractor.features == "waveform"
    collator = PairCollator(processor, augment, pooled, recipe.seed, keep_unmasked=shared_batch, flat=flat)
    if recipe.data.streams:  # deals rows to processes by itself, so that Accelerate hands it through
        loader = _stream(recipe, collator, corpora, notes, accelerator, output)
    else:
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


def freeze_what_nothing_reads(recipe: ObjectiveRecipe, model: RaClapModel) -> None:
    """Takes the gradient from learned scales that no term of the loss reads: processes would wait for it."""
    by_contrast = recipe.contrastive_weight and None in (recipe.audio_logit_scale, recipe.text_logit_scale)
    by_rank = recipe.rank is not None and recipe.rank.logit_scale is None
    if not (by_contrast or by_rank):
        model.log_logit_scale.requires_grad_(False)
    if model.config.tag_head and not (recipe.classification and recipe.classification.logit == "scaled"):
        model.tag_log_scale.requires_grad_(False)
        model.tag_bias.requires_grad_(False)


def checkpoint_speech(model: RaClapModel) -> None:
    """Makes the speech tower keep its layers' inputs alone and compute the rest again for the gradient.

    Raises:
        RecipeError: the tower cannot.
    """
    tower = model.audio_model
    if not tower.supports_gradient_checkpointing:
        raise RecipeError(f"training.gradient_checkpointing: {type(tower).__name__} cannot; leave the key out")
    # transformers renamed it within version 5. Reentrant checkpoints know nothing of DDP.
    enable = getattr(tower, "activation_checkpointing_enable", None) or tower.gradient_checkpointing_enable
    enable({"use_reentrant": False})


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
    sampler = _sampler(recipe, {name: corpus.manifest for name, corpus in corpora.items()})
    found = list(corpora.values())
    return DataLoader(
        _examples_of(recipe, notes, found[0].rate, processes)(found),
        batch_size=batch_size // processes,
        sampler=sampler,
        drop_last=True,
        collate_fn=collator,
        num_workers=recipe.data.workers,
        persistent_workers=recipe.data.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _sampler(recipe: Recipe, corpora: Mapping[str, Manifest]) -> MixtureSampler:
    training, balance = recipe.training, recipe.data.class_balance
    if balance is None:
        sizes = [len(manifest) for manifest in corpora.values()]
        return MixtureSampler(
            sizes, recipe.shares, training.batch_size, training.steps_per_epoch, recipe.seed, list(corpora)
        )
    return ClassBalancedSampler(
        class_weights(corpora, balance),
        balance.rare_per_batch,
        recipe.shares,
        training.batch_size,
        training.steps_per_epoch,
        recipe.seed,
        list(corpora),
    )


def _stream(
    recipe: Recipe,
    collator: PairCollator,
    corpora: dict[str, StreamedCorpus],
    notes: PairNotes | None,
    accelerator: Accelerator,
    output: Path,
) -> StreamLoader:
    sizes = tuple(len(corpus.manifest) for corpus in corpora.values())
    batch_size, processes, process = recipe.training.batch_size, accelerator.num_processes, accelerator.process_index
    rate = next(iter(corpora.values())).rate
    dataset = StreamDataset(
        corpora,
        ProcessMixture(sizes, recipe.shares, batch_size, processes),
        process,
        recipe.data.shuffle_buffer,
        recipe.seed,
        recipe.data.skip_bad,
        _examples_of(recipe, notes, rate, processes),
        collator,
    )
    steps = recipe.training.steps_per_epoch or max(1, sum(sizes) // batch_size)
    left_out = LeftOutList(output / f"skipped-{process:05d}.jsonl") if recipe.data.skip_bad else None
    return StreamLoader(dataset, steps, recipe.data.workers, accelerator.device, left_out)


def _examples_of(
    recipe: Recipe, notes: PairNotes | None, rate: int, processes: int
) -> Callable[[list[Inspection]], PairDataset]:
    """Makes the examples of corpora as a recipe says."""
    changes = recipe.augmentation.waveform
    return partial(
        PairDataset,
        crop_seconds=recipe.data.crop_seconds,
        seed=recipe.seed,
        speed=recipe.augmentation.speed,
        notes=notes,
        augment=WaveformAugmentation(changes, rate) if changes else None,
        threads=_reading_threads(recipe.data.workers, processes),
    )


def _reading_threads(workers: int, processes: int) -> int:
    """Threads that each loader process (without any, the training process) reads with, so that all cores do."""
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    return max(1, min(_MOST_THREADS, os.cpu_count() // (on_this_machine * max(1, workers))))


def _augment(recipe: AugmentationRecipe) -> SpecAugment | None:
    if not (recipe.time_masks or recipe.mel_masks):
        return None
    return SpecAugment(**recipe.model_dump(exclude={"speed", "waveform"}))


def _scheduler(recipe: OptimizerRecipe, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    return get_scheduler(
        recipe.schedule,
        optimizer,
        num_warmup_steps=round(recipe.warmup_ratio * steps),
        num_training_steps=steps,
    )
