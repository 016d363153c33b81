"""The YAML header of a model's card: what the Hub reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from raclap.hub.examples import Example
from raclap.hub.figures import DIRECTIONS, Figures
from raclap.hub.licences import WeightsLicence
from raclap.hub.lineage import TrainingData
from raclap.recipe import ModelRecipe

TAGS = ("raclap", "speech", "speaking-style", "audio-text-retrieval", "zero-shot-audio-classification")

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:[-_].*)?", re.IGNORECASE)
# Corpora whose name on the Hub is known; others are listed under their own names.
_ON_THE_HUB = {"paraspeechcaps": "ajd12342/paraspeechcaps"}


def card_header(
    name: str,
    model: ModelRecipe,
    training_data: TrainingData,
    licence: WeightsLicence,
    figures: tuple[Figures, ...],
    examples: tuple[Example, ...],
) -> ModelCardData:
    """Builds the header.

    Args:
        name: of the model.
        model: names the towers that it was made from.
        training_data: its corpora.
        licence: of the weights.
        figures: become `model-index`, values as they are.
        examples: become `widget`.
    """
    widget = {"widget": [_widget(number, own) for number, own in enumerate(examples, 1)]} if examples else {}
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=list(TAGS),
        license=licence.hub_id,
        license_name=licence.name,
        language=languages(training_data) or None,
        datasets=[_dataset(corpus) for corpus in training_data.corpora] or None,
        base_model=hub_names(model) or None,
        model_name=name,
        eval_results=[result for own in figures for result in _eval_results(own)] or None,
        **widget,
    )


def languages(training_data: TrainingData) -> list[str]:
    """ISO 639 codes of the corpora, sorted; what is no such code is left out."""
    stated = (language for seen in training_data.corpora.values() for language in seen.languages)
    codes = (_LANGUAGE.fullmatch(language) for language in stated)
    return sorted({code[1].lower() for code in codes if code})


def hub_names(model: ModelRecipe) -> list[str]:
    """The towers that a recipe takes from the Hub."""
    names = (tower.pretrained for tower in (model.speech, model.text))
    return [name for name in names if name and _HUB_NAME.fullmatch(name) and not Path(name).exists()]


def _dataset(corpus: str) -> str:
    return _ON_THE_HUB.get(corpus.lower(), re.sub(r"[^\w.-]+", "-", corpus).strip("-."))


def _widget(number: int, example: Example) -> dict[str, Any]:
    return {
        "src": example.file(number),
        "example_title": example.title,
        "output": [{"label": label, "score": score} for label, score in example.scores],
    }


def _eval_results(figures: Figures) -> Iterator[EvalResult]:
    for corpus, found in figures.results.items():
        for direction, arrow in DIRECTIONS.items():
            for metric in figures.metrics:
                yield EvalResult(
                    task_type="information-retrieval",
                    task_name="Speech-style retrieval",
                    dataset_type=_dataset(corpus),
                    dataset_name=corpus,
                    dataset_split=figures.split,
                    metric_type=re.sub(r"\W+", "_", metric.replace("R@", "recall_at_").replace("@", "_at_")).lower(),
                    metric_name=f"{metric} ({arrow})",
                    metric_value=found[direction][metric]["value"],
                )
