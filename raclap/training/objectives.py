"""What a step minimises: a model and a batch in, a loss and its figures out."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from raclap.data.notes import split_notes
from raclap.data.ragged import LENGTHS, is_flat, pad_clips, padded
from raclap.recipe import ObjectiveRecipe, TrainingRecipe
from raclap.training.contrastive_loss import contrastive_loss
from raclap.training.distributed import gather
from raclap.training.micro_batches import part_sizes
from raclap.training.relations import Relation, SameGroup, SharedAttributes

_MASKS = {"audio": "audio_attention_mask", "text": "attention_mask"}


@dataclass(frozen=True)
class StepLoss:
    """What a step came to.

    Attributes:
        value: scalar loss of the global batch, equal on every process.
        figures: scalars to log, by name.
    """

    value: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """Computes the loss of one global batch; see `ContrastiveObjective`."""

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], step: int = 0) -> StepLoss:
        """The loss of the global batch; `step` is counted over the whole run."""


class Relate(Protocol):
    """Finds out how the pairs of a batch are related."""

    def __call__(self, inputs: Mapping[str, Tensor], notes: Mapping[str, Tensor]) -> Relation:
        """The relation over the global batch, from this process's model inputs and notes."""


def relate_by_codes(inputs: Mapping[str, Tensor], notes: Mapping[str, Tensor]) -> Relation:
    """Pairs with equal codes (captions, style keys) belong together."""
    return SameGroup(gather(notes["codes"]))


@dataclass(frozen=True)
class RelateByAttributes:
    """Captions belong to clips by the share of their named attributes that hold.

    Attributes:
        power: exponent of the shares.
    """

    power: float = 1.0

    def __call__(self, inputs: Mapping[str, Tensor], notes: Mapping[str, Tensor]) -> Relation:
        """The relation over the global batch."""
        return SharedAttributes(gather(notes["held"]), gather(notes["wanted"]), self.power)


@dataclass(frozen=True)
class ContrastiveObjective:
    """Contrastive learning over a relation; with none, the InfoNCE of ESS-CLAP.

    Attributes:
        recipe: directions, weights and scales.
        relate: finds the relation of a batch; None: each clip has its own caption alone.
        speech_micro_batches, text_micro_batches: parts that each tower runs in.

    Source: RA-CLAP Eqs. (3)-(7).
    """

    recipe: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    relate: Relate | None = None
    speech_micro_batches: int = 1
    text_micro_batches: int = 1

    @classmethod
    def from_recipe(
        cls, recipe: ObjectiveRecipe, training: TrainingRecipe, relate: Relate | None = None
    ) -> "ContrastiveObjective":
        """The objective of a recipe; `relate` brings the relation where it is a teacher's."""
        own = {"caption": relate_by_codes, "style": relate_by_codes}
        own["attributes"] = RelateByAttributes(recipe.attribute_power)
        relate = own.get(recipe.relation, relate)
        return cls(recipe, relate, training.speech_micro_batches, training.text_micro_batches)

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], step: int = 0) -> StepLoss:
        """The loss of the global batch."""
        inputs, notes = split_notes(batch)
        relation = self.relation(inputs, notes)
        return self.compare(self.embed(model, inputs), relation)

    def relation(self, inputs: Mapping[str, Tensor], notes: Mapping[str, Tensor]) -> Relation | None:
        """How the pairs of the batch are related; None: each clip has its own caption alone."""
        return None if self.relate is None else self.relate(inputs, notes)

    def embed(self, model: nn.Module, inputs: dict[str, Tensor]) -> "PairEmbeds":
        """Embeds the pairs of this process."""
        return embed_pairs(model, inputs, self.speech_micro_batches, self.text_micro_batches)

    def compare(self, embeds: "PairEmbeds", relation: Relation | None) -> StepLoss:
        """The loss of embedded pairs."""
        loss = contrastive_loss(
            embeds.audio,
            embeds.text,
            scale_or(self.recipe.audio_logit_scale, embeds.logit_scale),
            scale_or(self.recipe.text_logit_scale, embeds.logit_scale),
            relation,
            relation_weight=self.recipe.relation_weight,
            identity_weight=1.0 if relation is None else self.recipe.info_nce_weight,
            symmetric=self.recipe.symmetric,
        )
        figures = {} if loss.target_entropy is None else {"target_entropy": loss.target_entropy}
        return StepLoss(loss.loss, figures)


class Term(Protocol):
    """One more part of what a step minimises, over pairs that are embedded already.

    Attributes:
        name: among the figures of a step.
        weight: in the sum.
        reads_captions: whether it needs the embeddings of captions.
    """

    name: str
    weight: float
    reads_captions: bool

    def __call__(self, model: nn.Module, embeds: "PairEmbeds", notes: Mapping[str, Tensor], step: int) -> Tensor:
        """Its loss of the global batch, a scalar that is equal on every process."""


@dataclass(frozen=True)
class CombinedObjective:
    """A weighted sum of the contrastive loss and of other terms, over one embedding of the batch.

    Attributes:
        contrastive: also says how pairs are embedded.
        terms: the others.
    """

    contrastive: ContrastiveObjective
    terms: tuple[Term, ...]

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], step: int = 0) -> StepLoss:
        """The loss of the global batch; its figures are the terms, not yet weighted, where there are several."""
        inputs, notes = split_notes(batch)
        weight = self.contrastive.recipe.contrastive_weight
        relation = self.contrastive.relation(inputs, notes) if weight else None
        if not (weight or any(term.reads_captions for term in self.terms)):
            inputs = _split_modalities(inputs)[0]
        embeds = self.contrastive.embed(model, inputs)
        losses, figures = [], {}
        if weight:
            loss = self.contrastive.compare(embeds, relation)
            losses.append(("contrastive", weight, loss.value))
            figures.update(loss.figures)
        losses += [(term.name, term.weight, term(model, embeds, notes, step)) for term in self.terms]
        if len(losses) > 1:
            figures.update({name: value.detach() for name, _, value in losses})
        return StepLoss(sum(weight * value for _, weight, value in losses), figures)


def scale_or(value: float | None, learned: Tensor) -> Tensor:
    """A fixed scale, or the learned one where none is given."""
    return learned if value is None else torch.full_like(learned, value)


@dataclass(frozen=True)
class PairEmbeds:
    """Embeddings of this process's pairs, (b, D) each, and the model's scale; text is None without captions."""

    audio: Tensor
    text: Tensor | None
    logit_scale: Tensor


def embed_pairs(
    model: nn.Module, batch: dict[str, Tensor], speech_micro_batches: int = 1, text_micro_batches: int = 1
) -> PairEmbeds:
    """Embeds a batch; with micro-batches a tower sees items of like length together.

    The batch (and so the negatives) stays as it was drawn: only the padding shrinks, see `part_sizes`. A tower with
    batch statistics (ECAPA-TDNN in training) normalises each part by itself. DDP allows several forward calls before
    one backward.
    """
    if bare(model).config.audio_window_is_fixed:
        speech_micro_batches = 1  # every clip fills the window: there is no padding to save
    if speech_micro_batches == text_micro_batches == 1:
        output = model(**padded(batch))
        return PairEmbeds(output.audio_embeds, output.text_embeds, _scale(model))
    audio, text = _split_modalities(batch)
    return PairEmbeds(
        _embed_by_length(model, audio, "audio", speech_micro_batches),
        _embed_by_length(model, text, "text", text_micro_batches) if text else None,
        _scale(model),
    )


def _split_modalities(batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the speech tower reads, and what the text tower does."""
    of_audio = ("input_values", "input_features", "audio", "waveform")
    audio = {name: value for name, value in batch.items() if name.startswith(of_audio)}
    return audio, {name: value for name, value in batch.items() if name not in audio}


def _embed_by_length(model: nn.Module, inputs: dict[str, Tensor], modality: str, parts: int) -> Tensor:
    """Embeddings of one modality, in the order of the batch: (b, D)."""
    name = f"{modality}_embeds"
    mask = inputs.get(_MASKS[modality])
    if parts == 1 or (mask is None and not is_flat(inputs)):
        return model(**padded(inputs))[name]
    lengths, order = (inputs[LENGTHS] if is_flat(inputs) else mask.sum(dim=1)).sort(stable=True)
    rising = lengths.tolist()
    runs = order.split(part_sizes(rising, parts))
    embeds = [model(**part)[name] for part in _take(inputs, runs, rising)]
    return torch.cat(embeds)[torch.argsort(order)]


def _take(inputs: dict[str, Tensor], runs: Sequence[Tensor], rising: Sequence[int]) -> Iterator[dict[str, Tensor]]:
    """Each run of items, as long as its longest."""
    if is_flat(inputs):
        yield from pad_clips(inputs, [rows.tolist() for rows in runs])
        return
    for rows, end in zip(runs, itertools.accumulate(map(len, runs)), strict=True):
        yield {key: value[rows, : rising[end - 1]] for key, value in inputs.items()}


def _scale(model: nn.Module) -> Tensor:
    return bare(model).logit_scale


def bare(model: nn.Module) -> nn.Module:
    """The model itself, of one that several processes share."""
    return getattr(model, "module", model)
