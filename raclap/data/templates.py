"""Templates: sentences with a place for a tag, which make captions of tags."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raclap.errors import RecipeError
from raclap.settings_file import read_settings

_PLACE = "tag"


def read_templates(path: Path | str, groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads a templates file: `{templates: ["The voice sounds {tag}.", ...]}`, or a list for each group by name.

    Args:
        path: YAML file.
        groups: names of the tag groups that need templates.

    Returns:
        Templates by group.

    Raises:
        RecipeError: the file has not the form above, a group has no templates, or a sentence has another placeholder
            than {tag} or none; the message names the file and the sentence.
    """
    path = Path(path)
    content = read_settings(path, "a file of templates", RecipeError)
    for key in content:
        if key != "templates":
            raise RecipeError(f"{path}: unknown key '{key}'; the one key is 'templates'")
    found = content.get("templates")
    by_group = found if isinstance(found, dict) else dict.fromkeys(groups, found)
    checked = {group: _checked(path, group, sentences) for group, sentences in by_group.items()}
    lacking = [group for group in groups if group not in checked]
    if lacking:
        raise RecipeError(f"{path}: templates has no sentences for the group '{lacking[0]}'")
    return {group: checked[group] for group in groups}


def fill(template: str, tag: str) -> str:
    """The sentence that a template makes of a tag.

    >>> fill("The voice sounds {tag}.", "very_low")
    'The voice sounds very low.'
    """
    return template.format(**{_PLACE: tag.replace("_", " ")})


def _checked(path: Path, group: str, sentences: Any) -> tuple[str, ...]:
    if not isinstance(sentences, list) or not sentences or not all(isinstance(text, str) for text in sentences):
        raise RecipeError(f"{path}: templates (group '{group}'): expected a list of sentences, at least one")
    for text in sentences:
        if _placeholders(text) != {_PLACE}:
            raise RecipeError(f"{path}: templates: '{text}' must have the placeholder {{{_PLACE}}}, and no other one")
    return tuple(sentences)


def _placeholders(text: str) -> set[str]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:  # a brace alone
        return set()
    plain = all(not form and not conversion for _, name, form, conversion in parts if name is not None)
    return {name for _, name, _, _ in parts if name is not None} if plain else set()
