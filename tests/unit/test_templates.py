"""Template files: what they give, and what is wrong with them."""

from pathlib import Path

import pytest

from raclap.data.templates import fill, read_templates
from raclap.errors import RecipeError

ROOT = Path(__file__).parents[2]


def written(tmp_path, text):
    path = tmp_path / "templates.yaml"
    path.write_text(text)
    return path


def test_a_list_serves_all_groups_and_a_mapping_each_its_own(tmp_path):
    path = written(tmp_path, 'templates: ["It is {tag}.", "{tag}"]')
    assert read_templates(path, ["a", "b"]) == dict.fromkeys("ab", ("It is {tag}.", "{tag}"))
    path = written(tmp_path, 'templates: {a: ["It is {tag}."], b: ["{tag} pitch"], spare: ["{tag}!"]}')
    assert read_templates(path, ["b", "a"]) == {"b": ("{tag} pitch",), "a": ("It is {tag}.",)}


def test_tags_are_put_into_sentences():
    assert fill("The voice is {tag}: {tag}.", "vocal-fry") == "The voice is vocal-fry: vocal-fry."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("templates: [It is deep.]", "'It is deep.' must have the placeholder {tag}"),
        ("templates: ['It is {tag}.', 'It is {pitch}.']", "'It is {pitch}.' must have the placeholder {tag}"),
        ("templates: ['It is {tag} and {pitch}.']", "and no other one"),
        ("templates: ['It is {tag:4}.']", "must have the placeholder {tag}"),
        ("templates: ['It is {tag.']", "must have the placeholder {tag}"),
        ("templates: ['It is {}.']", "must have the placeholder {tag}"),
        ("templates: []", "expected a list of sentences"),
        ("templates: [1]", "expected a list of sentences"),
        ("templates: ", "expected a list of sentences"),
        ("sentences: ['{tag}']", "unknown key 'sentences'"),
        ("templates: {b: ['{tag}']}", "no sentences for the group 'a'"),
        ("['{tag}']", "is a mapping of keys"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as raised:
        read_templates(path, ["a"])
    assert str(path) in str(raised.value) and message in str(raised.value)


def test_the_projects_own_templates_fit_any_tag():
    templates = read_templates(ROOT / "configuration/paraspeechclap/templates.yaml", ["any"])["any"]
    assert len(set(templates)) >= 8
    assert not any(f"{article} {{tag}}" in text.lower() for text in templates for article in ("a", "an"))
