"""Recipes of `raclap index`."""

from pathlib import Path

import pytest

from raclap.archive.recipe import IndexSettings, read_index_settings
from raclap.errors import RecipeError

RECIPES = Path(__file__).parents[2] / "configuration" / "archive"


def test_the_default_recipe_is_the_default():
    settings = read_index_settings(RECIPES / "default.yaml")
    assert settings == IndexSettings(hop_seconds=5.0)
    assert settings.hop == IndexSettings().hop == 5.0


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_this_repository_are_good(path):
    settings = read_index_settings(path)
    assert 0 < settings.hop <= settings.window_seconds


def test_a_hop_is_half_a_window():
    assert IndexSettings(window_seconds=3.0).hop == 1.5
    assert IndexSettings(window_seconds=3.0, hop_seconds=1.0).hop == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("window: 4\n", "key 'window': unknown key"),
        ("window_seconds: long\n", "key 'window_seconds'"),
        ("window_seconds: 4\nwindow_seconds: 5\n", "'window_seconds' is written twice"),
        ("- 4\n", "a recipe is a mapping of keys, not list"),
    ],
)
def test_bad_recipes(tmp_path, text, said):
    path = tmp_path / "archive.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said) as raised:
        read_index_settings(path)
    assert str(path) in str(raised.value)
