"""The card says what the run knows, and nothing of the machine; what the run does not know it does not say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from conftest import tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel
from raclap.hub.card import CardFacts, render_card
from raclap.hub.card_template import CardError
from raclap.hub.examples import Clip, Example
from raclap.hub.figures import METRICS, Figures
from raclap.hub.lineage import SeenCorpus, TrainingData
from raclap.recipe import read_recipe

DIRECTIONS = ("audio_to_text", "text_to_audio")
CALIBRATION = {
    "slope": 10.0, "intercept": -2.0, "quantiles": [-1.0, 1.0],
    "facts": {"clips": {"tones": 30, "bells": 12}, "brier": 0.1234},
}  # fmt: skip


def figures(split: str = "validation", **results: float) -> Figures:
    """Of corpora, each with one value everywhere that is its own in every cell."""
    cells = {
        corpus: {
            direction: {
                metric: {"value": base + 10 * d + m, "low": base + 10 * d + m - 1, "high": base + 10 * d + m + 2}
                for m, metric in enumerate(METRICS[:7])
            }
            for d, direction in enumerate(DIRECTIONS)
        }
        for corpus, base in results.items()
    }
    return Figures(split, cells, 2000, dict.fromkeys(results, 1234))


def seen(**changes: object) -> SeenCorpus:
    return replace(SeenCorpus(1500, 2.345, ("en",), ("CC BY 4.0",), "training"), **changes)


@pytest.fixture
def facts(recipe_file) -> Callable[..., CardFacts]:
    """Makes the facts of a tiny model; `settings` go to its recipe."""

    def make(settings: tuple[str, ...] = (), **changes: object) -> CardFacts:
        config = RaClapConfig(audio_config=EcapaTdnnConfig(channels=16), text_config=tiny_bert_config())
        return CardFacts(
            **{
                "recipe": read_recipe(recipe_file, settings),
                "model": RaClapModel(config),
                "training_data": TrainingData({"tones": seen()}),
                "epoch": 2,
                "is_best": True,
                "figures": (figures(tones=12.34),),
                **changes,
            }
        )

    return make


def example(*scores: tuple[str, float]) -> Example:
    return Example(Clip(np.zeros(160, np.float32), 16_000, "a sad voice", "tones (CC BY 4.0)"), scores, True)


def table_below(card: str, heading: str) -> list[str]:
    lines = card[card.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = next(number for number in range(first, len(lines)) if not lines[number].startswith("|"))
    return lines[first:end]


def test_it_says_what_was_learned_and_from_whom_but_not_where(facts):
    settings = (
        "objective.relation=teacher", "objective.info_nce_weight=0.3", "teacher.folders=[/secret/a, /secret/b]",
        "model.init_from=/secret/c", "model.text.pretrained=/secret/towers/small-bert",
    )  # fmt: skip
    card = render_card(facts(settings))
    assert "divergence from the targets of 2 teachers (RA-CLAP, Eqs. 4-7), with 0.3 · symmetric InfoNCE" in card
    assert "temperature_ratio: 1.0" in card and "/secret" not in card
    assert "published weights of small-bert, whose licences hold" in card
    assert "Objective: symmetric InfoNCE\n" in render_card(facts())


def test_it_holds_figures_with_intervals_data_and_recipe_but_no_paths(facts):
    data = TrainingData({"tones": seen(), "bells": seen(pairs=20, hours=None, languages=("de", "English"))})
    card = render_card(facts(training_data=data, figures=(figures(tones=12.34, bells=40.0),)))
    table = table_below(card, "### Validation")
    assert [line.count("|") for line in table] == [10] * 6
    assert table[2].startswith("| tones | audio → text | 12.3 (11.3–14.3) | 13.3 (12.3–15.3) |")
    assert table[5].startswith("| bells | text → audio | 50.0 (49.0–52.0) |")
    assert (
        "| tones | training | 1,500 | 2.35 | en | [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/) |" in card
    )
    assert "| bells | training | 20 | not known | English, de |" in card.replace("de, English", "English, de")
    assert "Epoch 2 of 2, chosen for its mAP@10" in card and "(2,000 resamples)" in card and "tones 1,234" in card
    assert "learning_rate: 0.003" in card
    assert "manifest.parquet" not in card and "{" + "{" not in card and "/tmp" not in card


def test_the_last_epoch_is_not_said_to_be_chosen_and_bare_values_have_no_intervals(facts):
    bare = Figures.without_intervals("validation", {"tones": {d: {"R@1": 12.34} for d in DIRECTIONS}, })  # fmt: skip
    card = render_card(facts(is_best=False, figures=(bare,)))
    assert "the last; another one was better in mAP@10" in card and "chosen for" not in card
    assert table_below(card, "### Validation")[2] == "| tones | audio → text | 12.3 |"
    assert "Intervals were not kept" in card


def test_the_header_survives_the_code_of_the_hub(facts, tmp_path):
    scores = (("sad, quiet", 0.75), ("loud", 0.25))
    settings = ("model.speech.pretrained=microsoft/wavlm-base", "model.speech.config={}")
    data = TrainingData({"tones": seen(), "my bells": seen(languages=("zh-CN", "en", "English"))})
    card = render_card(
        facts(
            settings,
            training_data=data,
            figures=(figures(tones=12.34), figures("test", tones=56.78)),
            examples=(example(*scores),),
        )
    )
    path = tmp_path / "README.md"
    path.write_text(card, encoding="utf-8")
    assert str(ModelCard(card)) == card and str(ModelCard.load(path)) == card
    header = metadata_load(path)
    assert header == yaml.safe_load(card.split("---\n")[1])
    assert header["pipeline_tag"] == "feature-extraction" and header["library_name"] == "transformers"
    assert header["license"] == "apache-2.0" and "license_name" not in header
    assert header["language"] == ["en", "zh"] and header["datasets"] == ["tones", "my-bells"]
    assert header["base_model"] == ["microsoft/wavlm-base"]
    assert header["widget"] == [
        {
            "src": "examples/1.flac",
            "example_title": "a sad voice",
            "output": [{"label": label, "score": score} for label, score in scores],
        }
    ]
    name, results = model_index_to_eval_results(header["model-index"])
    assert name == "tiny" and eval_results_to_model_index(name, results) == header["model-index"]
    assert len(results) == 2 * 2 * 7
    found = {(own.dataset_split, own.metric_name): own.metric_value for own in results}
    assert found["validation", "R@1 (audio → text)"] == 12.34
    assert found["test", "R@1 (text → audio)"] == pytest.approx(66.78)
    # metadata_update tells results apart by everything but their value.
    assert not any(a.is_equal_except_value(b) for n, a in enumerate(results) for b in results[:n])


def test_without_examples_results_or_languages_the_header_has_no_such_keys(facts):
    card = render_card(facts(training_data=TrainingData({"tones": seen(languages=())}), figures=()))
    assert not {"widget", "model-index", "language", "base_model"} & set(ModelCard(card).data.to_dict())
    assert '["a.wav", "b.wav"]' in card and "## Examples" not in card


def test_restrictive_data_speak_for_themselves(facts):
    teacher = seen(pairs=None, hours=None, licences=("CC BY-NC-SA 4.0",), role="teacher")
    card = render_card(facts(training_data=TrainingData({"tones": seen(), "ravdess": teacher})))
    assert ModelCard(card).data.license == "cc-by-nc-sa-4.0"
    assert card.count("Non-commercial use only: trained on ravdess (CC BY-NC-SA 4.0).") == 2
    assert "| ravdess | of a teacher | not known | not known | en |" in card
    # The teacher's pairs are not this model's.
    assert "Trained on 1,500 pairs of a clip and a description, 2.35 hours" in card


def test_probabilities_are_promised_only_where_the_model_is_calibrated(facts):
    plain = facts()
    assert "match_probability" not in render_card(plain) and "is not calibrated" in render_card(plain)
    plain.model.config.calibration = CALIBRATION
    card = render_card(plain)
    assert "print(model.match_probability(clips, texts))" in card
    assert "42 validation clips (tones, bells)" in card and "Brier score is\n0.123 (0 is" in card


def test_snippets_read_the_examples_and_are_python(facts):
    card = render_card(facts(examples=(example(("sad", 0.5)),), repo_id="someone/tiny"))
    blocks = [block.split("```")[0] for block in card.split("```python\n")[1:]]
    assert len(blocks) == 4 and all(compile(block, "card", "exec") for block in blocks)
    assert all("examples/1.flac" in block for block in blocks) and "a.wav" not in card
    assert "someone/tiny" in blocks[0] and "https://huggingface.co/someone/tiny" in card


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{{ figures.test.tones }}", "line 3: asks for what this model does not have .*'test'"),
        ("{{ figures.validation.tones.audio_to_text['R@2'].value }}", "line 3: .*R@2"),
        ("{{ calibration.brier }}", "line 3: .*brier"),
        ("{{ beauty }}", "line 3: .*'beauty' is undefined"),
        ("{{ '%.1f' | format(calibration) }}", "line 3: "),
        ("{% if %}", "line 3: Expected an expression"),
        ("{{ name.__class__.__mro__ }}", "line 3: .*unsafe"),
        ("{% include '/etc/hostname' %}", "line 3: "),
    ],
)
def test_a_template_that_asks_for_what_is_not_there_is_refused(facts, tmp_path, line, words):
    template = tmp_path / "mine.md"
    template.write_text(f"# {{{{ name }}}}\n\n{line}\n")
    with pytest.raises(CardError, match=rf"mine.md, {words}") as caught:
        render_card(facts(), template)
    assert "\n" not in str(caught.value)


def test_a_template_of_ones_own_gets_the_figures_as_they_are(facts, tmp_path):
    template = tmp_path / "mine.md"
    template.write_text("---\n{{ card_data }}\n---\n{{ figures.test.tones.text_to_audio['R@5'] | tojson }}\n")
    card = render_card(facts(figures=(figures(tones=1), figures("test", tones=56.5))), template)
    assert json.loads(ModelCard(card).text) == {"value": 67.5, "low": 66.5, "high": 69.5}
    with pytest.raises(CardError, match="no such card template"):
        render_card(facts(), Path("missing.md"))
    template.write_text("---\n- a list\n---\n")
    with pytest.raises(CardError, match=r"mine.md: gives no model card"):
        render_card(facts(), template)
