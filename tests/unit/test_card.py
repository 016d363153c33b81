"""The card says what the run knows, and nothing of the machine."""

from conftest import RATE, make_corpus, tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest
from raclap.hub.card import render_card
from raclap.recipe import read_recipe

RESULTS = {
    "tones": {
        direction: dict.fromkeys(("R@1", "R@5", "R@10", "mAP@10", "median_rank", "nDCG@10", "style_mAP@10"), 12.345)
        for direction in ("audio_to_text", "text_to_audio")
    }
}


def test_card_says_what_was_learned_and_from_whom_but_not_where(tmp_path, recipe_file):
    settings = [
        "objective.relation=teacher", "objective.info_nce_weight=0.3", "teacher.folders=[/secret/a, /secret/b]",
        "model.init_from=/secret/c",
    ]  # fmt: skip
    model = RaClapModel(RaClapConfig(audio_config=EcapaTdnnConfig(channels=16), text_config=tiny_bert_config()))
    manifest = read_manifest(make_corpus(tmp_path, "tones", {"train": 6}))
    corpora = {"tones": inspect_audio(manifest, RATE, lambda waveform: waveform, progress=False)}
    card = render_card(read_recipe(recipe_file, settings), model, corpora, 1, RESULTS)
    assert "divergence from the targets of 2 teachers (RA-CLAP, Eqs. 4-7), with 0.3 · symmetric InfoNCE" in card
    assert "temperature_ratio: 1.0" in card and "/secret" not in card
    plain = render_card(read_recipe(recipe_file), model, corpora, 1, RESULTS)
    assert "Objective: symmetric InfoNCE." in plain


def test_card_holds_figures_licences_and_recipe_but_no_paths(tmp_path, recipe_file):
    recipe = read_recipe(recipe_file)
    model = RaClapModel(RaClapConfig(audio_config=EcapaTdnnConfig(channels=16), text_config=tiny_bert_config()))
    manifest = read_manifest(make_corpus(tmp_path, "tones", {"train": 6}))
    corpora = {"tones": inspect_audio(manifest, RATE, lambda waveform: waveform, progress=False)}
    figures = RESULTS["tones"]["audio_to_text"]
    results = {"tones": {"audio_to_text": figures, "text_to_audio": {**figures, "R@1": 67.89}}}
    card = render_card(recipe, model, corpora, 2, results)
    assert card.startswith("---\n") and "pipeline_tag: feature-extraction" in card
    assert "| tones | 6 | not stated |" in card
    assert "| tones | audio → text | 12.3 | 12.3 |" in card and "| tones | text → audio | 67.9 |" in card
    assert "Epoch 2 of the run, chosen for its mAP@10" in card
    assert "learning_rate: 0.003" in card
    assert "manifest.parquet" not in card and "{" + "{" not in card
    table = card[card.index("| corpus | direction") : card.index("## Limits")].strip().splitlines()
    assert [line.count("|") for line in table] == [10] * 4
