"""The card says what the run knows, and nothing of the machine."""

from conftest import RATE, make_corpus, tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest
from raclap.hub.card import render_card
from raclap.recipe import read_recipe


def test_card_holds_figures_licences_and_recipe_but_no_paths(tmp_path, recipe_file):
    recipe = read_recipe(recipe_file)
    model = RaClapModel(RaClapConfig(audio_config=EcapaTdnnConfig(channels=16), text_config=tiny_bert_config()))
    manifest = read_manifest(make_corpus(tmp_path, "tones", {"train": 6}))
    corpora = {"tones": inspect_audio(manifest, RATE, lambda waveform: waveform, progress=False)}
    figures = dict.fromkeys(("R@1", "R@5", "R@10", "mAP@10", "median_rank", "nDCG@10", "style_mAP@10"), 12.345)
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
