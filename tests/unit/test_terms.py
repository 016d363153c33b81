"""Terms beside the contrastive loss: their sum, the sentences of tags, and what the model gets for them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_micro_batches import SAMPLES, TEXTS
from test_modeling import speech_config
from torch import Tensor

from conftest import RATE, make_tokenizer, tiny_bert_config
from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest, write_manifest
from raclap.data.notes import NOTE
from raclap.errors import ManifestError, RecipeError
from raclap.recipe import ObjectiveRecipe, read_recipe
from raclap.training.objectives import CombinedObjective, ContrastiveObjective
from raclap.training.rank_loss import rank_loss
from raclap.training.setup import freeze_what_nothing_reads
from raclap.training.tag_loss import tag_loss
from raclap.training.terms import Terms, prepare_terms

TEMPLATES = 'templates: ["the voice is {tag}", "{tag}", "it sounds {tag} and {tag}"]'
CLASSIFICATION = {"groups": ["how", "pitch"], "weight": 0.5}  # 2 + 3 tags


@pytest.fixture
def model() -> RaClapModel:
    torch.manual_seed(0)
    config = RaClapConfig(audio_config=speech_config(), text_config=tiny_bert_config(), projection_dim=16)
    return RaClapModel(config).double().eval()


@pytest.fixture
def processor() -> RaClapProcessor:
    return RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())


@pytest.fixture
def corpus(tmp_path, corpora):
    """Rows with valence and arousal, and with tags; every third row with neither."""

    def rated(pair):
        if pair.attributes["pitch"] == "normal":
            return replace(pair, attributes={})
        high, loud = pair.attributes["pitch"] == "high", pair.attributes["volume"] == "loud"
        return replace(pair, valence=1.0 + 4 * high, arousal=2.0 + loud, tags=(f"how:{pair.attributes['volume']}",))

    manifest = read_manifest(corpora["small"])
    pairs = [rated(pair) for pair in manifest]
    pairs[1] = replace(pairs[1], attributes={"pitch": "normal"})
    write_manifest(tmp_path / "manifest.parquet", pairs, manifest.audio_root)
    rows = read_manifest(tmp_path / "manifest.parquet").split("train")
    return inspect_audio(rows, RATE, lambda clip: clip, check="none", progress=False)


@pytest.fixture
def terms_of(recipe_file, tmp_path, model, processor, corpus):
    (tmp_path / "templates.yaml").write_text(TEMPLATES)

    def prepare(classification: dict | None = None, **objective) -> Terms:
        recipe = read_recipe(recipe_file)
        if classification is not None:
            objective["classification"] = {"templates": str(tmp_path / "templates.yaml"), **classification}
        recipe = recipe.model_copy(update={"objective": ObjectiveRecipe.model_validate(objective)})
        return prepare_terms(recipe, model, processor, [corpus])

    return prepare


def batch_of(processor: RaClapProcessor, terms: Terms, corpus, rows: int = 8) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    clips = [0.2 * torch.randn(length, generator=rng).numpy() for length in SAMPLES[:rows]]
    batch = dict(processor(text=TEXTS[:rows], audio=clips, prepared=True))
    batch["input_values"] = batch["input_values"].double()
    for make in terms.notes:
        notes = [make(corpus.manifest[row], row, 0) for row in range(rows)]
        batch.update({NOTE + name: torch.stack([note[name] for note in notes]) for name in notes[0]})
    return batch


def step(objective, model: RaClapModel, batch: dict[str, Tensor], number: int = 0) -> tuple[Tensor, Tensor, dict]:
    model.zero_grad()
    loss = objective(model, batch, number)
    loss.value.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return loss.value.detach(), gradient, dict(loss.figures)


def by_hand(model: RaClapModel, processor: RaClapProcessor, batch: dict[str, Tensor], sentences: list[str]) -> dict:
    """The three terms from whole forward passes of their own."""
    inputs = {name: value for name, value in batch.items() if not name.startswith(NOTE)}
    output = model(**inputs, return_loss=True)
    tags = model(**processor(text=sentences)).text_embeds
    groups = torch.tensor([0, 0, 1, 1, 1])
    return {
        "contrastive": output.loss,
        "rank": rank_loss(output.audio_embeds, output.text_embeds, batch[NOTE + "affect"], model.logit_scale),
        "classification": tag_loss(model.tag_logits(output.audio_embeds, tags), batch[NOTE + "tags"], groups),
    }


def sentences_of(term, step: int) -> list[str]:
    """What is drawn in a step, in words."""
    of_tag = ["the voice is {}", "{}", "it sounds {0} and {0}"]
    tags = ["loud", "quiet", "high", "low", "normal"]
    return [of_tag[row % 3].format(tags[row // 3]) for row in term._sentences.drawn(step)]


@pytest.mark.parametrize("parts", [(1, 1), (3, 2)], ids=str)
def test_the_sum_is_that_of_its_terms_and_they_are_logged(terms_of, model, processor, corpus, parts):
    recipe = ObjectiveRecipe(contrastive_weight=0.7)
    terms = terms_of(CLASSIFICATION, rank={"weight": 2.0})
    batch = batch_of(processor, terms, corpus)
    objective = CombinedObjective(ContrastiveObjective(recipe, None, *parts), terms.terms)
    value, gradient, figures = step(objective, model, batch, number=4)
    model.zero_grad()
    expected = by_hand(model, processor, batch, sentences_of(terms.terms[1], 4))
    total = 0.7 * expected["contrastive"] + 2.0 * expected["rank"] + 0.5 * expected["classification"]
    total.backward()
    torch.testing.assert_close(value, total.detach(), rtol=1e-11, atol=0)
    assert set(figures) == set(expected)
    for name, figure in figures.items():
        torch.testing.assert_close(figure, expected[name].detach(), rtol=1e-11, atol=0)
    by_hand_gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradient, by_hand_gradient, rtol=1e-8, atol=1e-11)


def test_one_term_alone_is_the_loss_and_no_figure(terms_of, model, processor, corpus):
    terms = terms_of(rank={"weight": 1.0, "logit_scale": 5.0}, contrastive_weight=0)
    batch = batch_of(processor, terms, corpus)
    objective = CombinedObjective(ContrastiveObjective(ObjectiveRecipe(rank={}, contrastive_weight=0)), terms.terms)
    value, _, figures = step(objective, model, batch)
    output = model(**{name: tensor for name, tensor in batch.items() if not name.startswith(NOTE)})
    own = rank_loss(output.audio_embeds, output.text_embeds, batch[NOTE + "affect"], torch.tensor(5.0))
    torch.testing.assert_close(value, own.detach(), rtol=1e-12, atol=0)
    assert figures == {}


def test_the_contrastive_term_alone_is_bit_identical(model, processor, corpus):
    batch = batch_of(processor, Terms((), ()), corpus)
    alone = step(ContrastiveObjective(), model, batch)
    summed = step(CombinedObjective(ContrastiveObjective(), ()), model, batch)
    assert torch.equal(alone[0], summed[0]) and torch.equal(alone[1], summed[1]) and alone[2] == summed[2] == {}


@pytest.mark.parametrize("parts", [(1, 1), (2, 2)], ids=str)
def test_each_clip_and_caption_is_embedded_once_and_captions_only_where_they_are_read(
    terms_of, model, processor, corpus, parts, monkeypatch
):
    terms = terms_of(CLASSIFICATION, rank={})
    batch, seen = batch_of(processor, terms, corpus), {"audio": 0, "text": 0}
    audio, text = model.get_audio_features, model.get_text_features

    def of_audio(input_values=None, *rest, **more):
        seen["audio"] += len(input_values)
        return audio(input_values, *rest, **more)

    def of_text(input_ids, *rest, **more):
        seen["text"] += len(input_ids)
        return text(input_ids, *rest, **more)

    monkeypatch.setattr(model, "get_audio_features", of_audio)
    monkeypatch.setattr(model, "get_text_features", of_text)
    contrastive = ContrastiveObjective(ObjectiveRecipe(), None, *parts)
    CombinedObjective(contrastive, terms.terms)(model, batch)
    assert seen == {"audio": 8, "text": 8 + 5}
    seen.update(audio=0, text=0)
    no_contrast = replace(contrastive, recipe=ObjectiveRecipe(contrastive_weight=0, rank={}))
    CombinedObjective(no_contrast, terms.terms[1:])(model, batch)
    assert seen == {"audio": 8, "text": 5}


def test_a_frozen_text_tower_reads_each_sentence_once(terms_of, model, processor, corpus, monkeypatch):
    model.float()
    trained = terms_of(CLASSIFICATION)
    batch = batch_of(processor, trained, corpus)
    batch["input_values"] = batch["input_values"].float()
    expected = [step(CombinedObjective(ContrastiveObjective(), trained.terms), model, batch, n) for n in range(3)]
    model.text_model.requires_grad_(False)
    frozen = terms_of(CLASSIFICATION)
    model.text_model.requires_grad_(True)
    monkeypatch.setattr(model, "pool_text", None)
    in_batch = {name: value for name, value in batch.items() if not name.startswith(("input_ids", "attention_mask"))}
    in_batch.pop("token_type_ids", None)
    recipe = ObjectiveRecipe.model_validate(
        {"contrastive_weight": 0, "classification": {**CLASSIFICATION, "templates": "-"}}
    )
    objective = CombinedObjective(ContrastiveObjective(recipe), frozen.terms)
    for number, (_, _, figures) in enumerate(expected):
        value, _, _ = step(objective, model, in_batch, number)
        torch.testing.assert_close(value / 0.5, figures["classification"], rtol=1e-5, atol=0)
        assert model.text_projection.linear1.weight.grad.abs().sum() > 0


def test_sentences_follow_from_the_seed_and_the_step(terms_of):
    term = terms_of(CLASSIFICATION).terms[0]
    again = terms_of(CLASSIFICATION).terms[0]
    draws = [sentences_of(term, number) for number in range(40)]
    assert draws == [sentences_of(again, number) for number in range(40)]
    assert len(set(map(tuple, draws))) > 20
    for place, tag in enumerate(["loud", "quiet", "high", "low", "normal"]):
        assert {draw[place] for draw in draws} == {f"the voice is {tag}", tag, f"it sounds {tag} and {tag}"}


def test_a_tag_head_begins_at_the_odds_of_a_tag_and_is_kept_where_there_is_one(terms_of, model):
    assert not model.config.tag_head and not hasattr(model, "tag_bias")
    terms_of({**CLASSIFICATION, "logit": "cosine"})
    assert not model.config.tag_head
    terms_of(CLASSIFICATION)
    share = (1 / 2 + 1 / 3) / 2
    zeros = torch.zeros(1, 16, dtype=torch.float64)
    assert model.tag_logits(zeros, zeros).sigmoid().item() == pytest.approx(share)
    assert model.tag_log_scale.item() == pytest.approx(math.log(10))
    with torch.no_grad():
        model.tag_bias.fill_(3.0)
    terms_of(CLASSIFICATION)
    assert model.tag_bias.item() == 3.0


def test_a_tag_head_is_saved_and_loaded(terms_of, model, tmp_path):
    with pytest.raises(ValueError, match="has no tag head"):
        model.tag_logits(torch.zeros(1, 16), torch.zeros(1, 16))
    terms_of(CLASSIFICATION)
    model.save_pretrained(tmp_path / "model")
    loaded = RaClapModel.from_pretrained(tmp_path / "model", dtype=torch.float64)
    assert loaded.config.tag_head and torch.equal(loaded.tag_bias, model.tag_bias)
    fresh = RaClapModel(model.config)
    assert fresh.tag_log_scale.item() == pytest.approx(math.log(10)) and fresh.tag_bias.item() == 0


@pytest.mark.parametrize(
    ("objective", "scale", "head"),
    [
        ({}, True, False),
        ({"audio_logit_scale": 5.0}, True, False),
        ({"audio_logit_scale": 5.0, "text_logit_scale": 5.0}, False, False),
        ({"audio_logit_scale": 5.0, "text_logit_scale": 5.0, "rank": {}}, True, False),
        ({"contrastive_weight": 0, "rank": {"logit_scale": 3.0}}, False, False),
        ({"contrastive_weight": 0, "classification": {**CLASSIFICATION, "templates": "-"}}, False, True),
        ({"classification": {**CLASSIFICATION, "templates": "-", "logit": "cosine"}}, True, False),
    ],
    ids=str,
)
def test_scales_that_nothing_reads_are_frozen(model, objective, scale, head):
    model.add_tag_head(0.5)
    freeze_what_nothing_reads(ObjectiveRecipe.model_validate(objective), model)
    assert model.log_logit_scale.requires_grad == scale
    assert model.tag_log_scale.requires_grad == model.tag_bias.requires_grad == head


def test_what_cannot_be_learned_is_said_beforehand(terms_of, corpus, tmp_path):
    with pytest.raises(RecipeError, match=r"'pitsch'.* did you mean 'pitch'"):
        terms_of({**CLASSIFICATION, "groups": ["pitsch"]})
    with pytest.raises(RecipeError, match=r"nowhere.yaml: cannot be read"):
        terms_of({**CLASSIFICATION, "templates": str(Path("nowhere.yaml"))})
    (tmp_path / "templates.yaml").write_text("templates: [a voice]")
    with pytest.raises(RecipeError, match=r"templates.yaml: templates: 'a voice' must have the placeholder \{tag\}"):
        terms_of(CLASSIFICATION)
    pairs = [replace(pair, arousal=None) for pair in corpus.manifest]
    write_manifest(tmp_path / "manifest.parquet", pairs, corpus.manifest.audio_root)
    corpus.__dict__["manifest"] = read_manifest(tmp_path / "manifest.parquet")
    with pytest.raises(ManifestError, match=r"row small-train-0: valence without arousal; objective.rank needs both"):
        terms_of(rank={})
