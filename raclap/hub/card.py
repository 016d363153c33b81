"""The card of an exported model: model_card.md, filled in with what the run knows. No figure is typed by hand."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from modeling_raclap import RaClapModel
from raclap.data.inspection import Inspection
from raclap.recipe import Recipe, dump_recipe

TEMPLATE = Path(__file__).with_name("model_card.md")

_METRICS = ("R@1", "R@5", "R@10", "mAP@10", "median_rank", "nDCG@10", "style_mAP@10")
_DIRECTIONS = {"audio_to_text": "audio → text", "text_to_audio": "text → audio"}


def render_card(
    recipe: Recipe, model: RaClapModel, corpora: dict[str, Inspection], epoch: int, results: dict[str, Any]
) -> str:
    """Writes the card.

    Args:
        recipe: of the run.
        model: what it trained.
        corpora: training rows by corpus.
        epoch: from 1.
        results: validation figures, `{corpus: {direction: {metric: value}}}`.

    Returns:
        Markdown with its YAML header.
    """
    licences = {name: _licence(corpus) for name, corpus in corpora.items()}
    rows = [
        {
            "corpus": corpus,
            "direction": title,
            "figures": [f"{directions[direction][metric]:.1f}" for metric in _METRICS],
        }
        for corpus, directions in results.items()
        for direction, title in _DIRECTIONS.items()
    ]
    card = ModelCard.from_template(
        ModelCardData(
            library_name="transformers",
            pipeline_tag="feature-extraction",
            tags=["raclap", "speech", "speaking-style", "zero-shot-audio-classification"],
            model_name=recipe.name,
        ),
        template_path=str(TEMPLATE),
        name=recipe.name,
        projection_dim=model.config.projection_dim,
        speech_tower=recipe.model.speech.pretrained or model.config.audio_config.model_type,
        text_tower=recipe.model.text.pretrained or model.config.text_config.model_type,
        objective=_objective(recipe),
        pairs=sum(len(corpus.manifest) for corpus in corpora.values()),
        corpora=[
            {"name": name, "pairs": len(corpus.manifest), "licence": licences[name]}
            for name, corpus in corpora.items()
        ],
        recipe=dump_recipe(recipe, with_paths=False),
        epoch=epoch,
        select=recipe.evaluation.select,
        metrics=_METRICS,
        calibration=None if model.calibration is None else model.calibration.facts,
        results=rows,
    )
    return str(card)


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


def _licence(corpus: Inspection) -> str:
    stated = sorted(licence for licence in corpus.manifest.distinct("licence") if licence)
    return ", ".join(stated) or "not stated"
