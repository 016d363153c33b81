"""The card of an exported model: model_card.md, filled in with what the run knows. No figure is typed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from modeling_raclap import RaClapModel
from raclap.hub.card_header import card_header, languages
from raclap.hub.card_template import CardError, fill_in
from raclap.hub.examples import Example
from raclap.hub.figures import DIRECTIONS, Figures
from raclap.hub.licences import find_licence, licence_of_weights
from raclap.hub.lineage import SeenCorpus, TrainingData
from raclap.recipe import Recipe, TowerRecipe, dump_recipe

TEMPLATE = Path(__file__).with_name("model_card.md")

_CLIPS = ("a.wav", "b.wav")  # of a reader's own, where the folder has no examples


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Attributes:
        recipe: of the run.
        model: what it trained.
        training_data: what that has learned from.
        epoch: from 1.
        is_best: whether that is the epoch that was chosen, and not merely the last.
        figures: results of this model, those of the validation rows first.
        zero_shot: of the validation rows, `{corpus: {metric: {"value", "low", "high"}}}`; empty where not measured.
        examples: clips in the folder and what the model says of them.
        repo_id: name on the Hub; None where not known.
        has_onnx: whether the towers lie in `onnx/` too.
    """

    recipe: Recipe
    model: RaClapModel
    training_data: TrainingData
    epoch: int
    is_best: bool
    figures: tuple[Figures, ...]
    zero_shot: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    repo_id: str | None = None
    has_onnx: bool = False


def render_card(facts: CardFacts, template: Path = TEMPLATE) -> str:
    """Writes the card.

    Args:
        facts: of the model.
        template: Jinja2; what it may ask for is in `card_values`.

    Returns:
        Markdown with its YAML header.

    Raises:
        CardError: the template cannot be read, asks for what this model does not have, or gives no card.
    """
    rendered = fill_in(template, card_values(facts))
    try:
        return str(ModelCard(rendered))
    except ValueError as error:
        raise CardError(f"{template}: gives no model card ({error})") from error


def card_values(facts: CardFacts) -> dict[str, Any]:
    """Everything that a template may ask for, as texts, numbers, lists and mappings.

    `figures` holds the results as they are, `{split: {corpus: {direction: {metric: {"value", "low", "high"}}}}}`;
    `tables` the same as rows of text.
    """
    recipe, model, data = facts.recipe, facts.model, facts.training_data
    licence = licence_of_weights(data.licences)
    header = card_header(recipe.name, recipe.model, data, licence, facts.figures, facts.examples)
    calibration, towers = model.calibration, (recipe.model.speech, recipe.model.text)
    return {
        "card_data": header.to_yaml(),
        "name": recipe.name,
        "repo_id": facts.repo_id,
        "projection_dim": model.config.projection_dim,
        "parameters": model.num_parameters(),
        "speech_tower": _tower(recipe.model.speech, model.config.audio_config.model_type),
        "text_tower": _tower(recipe.model.text, model.config.text_config.model_type),
        "pretrained_towers": [_published_name(tower.pretrained) for tower in towers if tower.pretrained],
        "objective": _objective(recipe),
        "recipe": dump_recipe(_published(recipe), with_paths=False),
        "crop_seconds": recipe.data.crop_seconds,
        "epoch": facts.epoch,
        "epochs": recipe.training.epochs,
        "is_best": facts.is_best,
        "select": recipe.evaluation.select,
        "pairs": _total(data, "pairs"),
        "hours": _total(data, "hours"),
        "languages": languages(data),
        "corpora": [_corpus(name, seen) for name, seen in data.corpora.items()],
        "licence": {"hub_id": licence.hub_id, "name": licence.name, "statements": list(licence.statements)},
        "calibration": None if calibration is None else dict(calibration.facts),
        "figures": _by_split(facts.figures),
        "tables": [_table(own) for own in facts.figures],
        "zero_shot": dict(facts.zero_shot),
        "examples": [_example(number, own) for number, own in enumerate(facts.examples, 1)],
        "clips": _clips(facts.examples),
        "has_onnx": facts.has_onnx,
    }


def _tower(recipe: TowerRecipe, kind: str) -> str:
    """Its published name, or what kind it is of."""
    return f"{_published_name(recipe.pretrained)} ({kind})" if recipe.pretrained else kind


def _published(recipe: Recipe) -> Recipe:
    """The recipe without the folders of this machine that towers were taken from."""
    towers = {
        name: tower.model_copy(update={"pretrained": tower.pretrained and _published_name(tower.pretrained)})
        for name, tower in (("speech", recipe.model.speech), ("text", recipe.model.text))
    }
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=towers)})


def _published_name(pretrained: str) -> str:
    path = Path(pretrained)
    return path.name if path.is_absolute() or path.exists() else pretrained


def _objective(recipe: Recipe) -> str:
    """What was minimised, in words."""
    objective = recipe.objective
    info_nce = "symmetric InfoNCE" if objective.symmetric else "InfoNCE, audio → text"
    if objective.relation == "identity":
        return info_nce
    if objective.relation != "teacher":
        source = f"the relation '{objective.relation}'"
    elif recipe.teacher.ema_decay is not None:
        source = "the moving average of the model itself"
    else:
        source = f"{len(recipe.teacher.folders)} teacher{'s' * (len(recipe.teacher.folders) > 1)}"
    beside = f", with {objective.info_nce_weight:g} · {info_nce}" if objective.info_nce_weight else ""
    return f"divergence from the targets of {source} (RA-CLAP, Eqs. 4-7){beside}"


def _total(data: TrainingData, quantity: str) -> float | None:
    """Over the corpora of the model's own training; None where one of them does not tell."""
    values = [getattr(seen, quantity) for seen in data.corpora.values() if seen.role == "training"]
    return None if None in values else sum(values)


def _corpus(name: str, seen: SeenCorpus) -> dict[str, Any]:
    licences = [find_licence(licence) for licence in seen.licences]
    roles = {"training": "training", "start": "of the model it started from", "teacher": "of a teacher"}
    return {
        "name": name,
        "role": roles[seen.role],
        "pairs": "not known" if seen.pairs is None else f"{seen.pairs:,}",
        "hours": "not known" if seen.hours is None else f"{seen.hours:,.2f}",
        "languages": ", ".join(seen.languages) or "not stated",
        "licence": ", ".join(f"[{own.name}]({own.url})" if own.url else own.name for own in licences) or "not stated",
    }


def _by_split(figures: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {}
    for own in figures:
        splits.setdefault(own.split, {}).update(own.results)
    return splits


def _table(figures: Figures) -> dict[str, Any]:
    """Results as text: a row a corpus and direction."""
    rows = [
        {
            "corpus": corpus,
            "direction": arrow,
            "cells": [_cell(metric, found[direction][metric]) for metric in figures.metrics],
        }
        for corpus, found in figures.results.items()
        for direction, arrow in DIRECTIONS.items()
    ]
    return {
        "split": figures.split,
        "metrics": list(figures.metrics),
        "rows": rows,
        "resamples": figures.resamples,
        "clips": dict(figures.clips),
    }


def _cell(metric: str, found: Mapping[str, float]) -> str:
    decimals = 3 if metric.startswith("tau_") else 1
    value = f"{found['value']:.{decimals}f}"
    return f"{value} ({found['low']:.{decimals}f}–{found['high']:.{decimals}f})" if "low" in found else value


def _example(number: int, example: Example) -> dict[str, Any]:
    return {
        "file": example.file(number),
        "title": example.title,
        "source": example.clip.source,
        "scores": [{"label": label, "score": score} for label, score in example.scores],
        "calibrated": example.calibrated,
    }


def _clips(examples: Sequence[Example]) -> list[str]:
    """Files that the snippets read."""
    return [own.file(number) for number, own in enumerate(examples, 1)][: len(_CLIPS)] or list(_CLIPS)
