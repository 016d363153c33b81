"""The terms of a recipe's loss beside the contrastive one: the order of affect, and tags.

Shapes: b pairs on this process, K tags of all groups, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.data.notes import AffectNotes, PairNotes, TagNotes
from raclap.data.tags import TagGroup, read_tag_groups
from raclap.data.templates import fill, read_templates
from raclap.processes import join_processes
from raclap.recipe import ClassificationRecipe, RankRecipe, Recipe
from raclap.training.objectives import PairEmbeds, Term, bare, scale_or
from raclap.training.rank_loss import rank_loss
from raclap.training.tag_loss import tag_loss
from raclap.training.tag_sentences import TagSentences


@dataclass(frozen=True)
class Terms:
    """What a recipe's objective has beside the contrastive loss; both may be empty.

    Attributes:
        terms: of the sum.
        notes: what they must know of each pair.
    """

    terms: tuple[Term, ...]
    notes: tuple[PairNotes, ...]


class RankTerm:
    """Order by valence and arousal, see `rank_loss`; reads the note `affect`.

    Args:
        recipe: weight and scale.
    """

    name = "rank"
    reads_captions = True

    def __init__(self, recipe: RankRecipe):
        self.weight = recipe.weight
        self._logit_scale = recipe.logit_scale

    def __call__(self, model: nn.Module, embeds: PairEmbeds, notes: Mapping[str, Tensor], step: int) -> Tensor:
        """The loss of the global batch."""
        return rank_loss(embeds.audio, embeds.text, notes["affect"], scale_or(self._logit_scale, embeds.logit_scale))


class ClassificationTerm:
    """Tags by their sentences, see `tag_loss`; reads the note `tags`.

    Args:
        recipe: weight and kind of logits.
        groups: K tags together, in the order of the note.
        sentences: of these tags.
    """

    name = "classification"
    reads_captions = False

    def __init__(self, recipe: ClassificationRecipe, groups: Sequence[TagGroup], sentences: TagSentences):
        self.weight = recipe.weight
        self._scaled = recipe.logit == "scaled"
        self._groups = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(g.tags) for g in groups]))
        self._sentences = sentences

    def __call__(self, model: nn.Module, embeds: PairEmbeds, notes: Mapping[str, Tensor], step: int) -> Tensor:
        """The loss of the global batch."""
        tag_embeds = self._sentences.embed(model, step)
        with torch.autocast(tag_embeds.device.type, enabled=False):
            dtype = torch.promote_types(torch.promote_types(embeds.audio.dtype, tag_embeds.dtype), torch.float32)
            audio, tags = embeds.audio.to(dtype), tag_embeds.to(dtype)
            logits = bare(model).tag_logits(audio, tags) if self._scaled else audio @ tags.T
        return tag_loss(logits, notes["tags"], self._groups.to(logits.device))


def prepare_terms(
    recipe: Recipe, model: RaClapModel, processor: RaClapProcessor, corpora: Sequence[Inspection]
) -> Terms:
    """Finds out what a recipe's terms need to know of the rows; gives the model a tag head where it lacks one.

    Args:
        recipe: of the run.
        model, processor: what is trained.
        corpora: training rows, in the order in which they are numbered.

    Raises:
        RecipeError: no row has valence and arousal; a tag group is not known; the templates are not as they should be.
        ManifestError: a row has valence without arousal, or a corpus has no order to learn.
    """
    terms: list[Term] = []
    notes: list[PairNotes] = []
    if recipe.objective.rank is not None:
        notes.append(AffectNotes(corpora))
        terms.append(RankTerm(recipe.objective.rank))
    if recipe.objective.classification is not None:
        own = recipe.objective.classification
        groups = read_tag_groups([corpus.manifest for corpus in corpora], own.groups)
        notes.append(TagNotes(groups))
        terms.append(ClassificationTerm(own, groups, _sentences(own, groups, model, processor, recipe.seed)))
        if own.logit == "scaled" and not model.config.tag_head:
            model.add_tag_head(_odds(groups))
    return Terms(tuple(terms), tuple(notes))


def _sentences(
    recipe: ClassificationRecipe,
    groups: Sequence[TagGroup],
    model: RaClapModel,
    processor: RaClapProcessor,
    seed: int,
) -> TagSentences:
    templates = read_templates(recipe.templates, recipe.groups)
    of_tags = [[fill(template, tag) for template in templates[g.name]] for g in groups for tag in g.tags]
    return TagSentences(model.to(join_processes().device), processor, of_tags, seed)


def _odds(groups: Sequence[TagGroup]) -> float:
    """Of a tag, as if each clip had one of its group, a mean over groups as in the loss."""
    share = sum(1 / len(group.tags) for group in groups) / len(groups)
    return share / (1 - share)
