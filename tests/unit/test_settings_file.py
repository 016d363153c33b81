import pytest

from raclap.errors import RecipeError
from raclap.settings_file import read_settings


def test_a_key_written_twice_is_named_with_its_lines(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("one: 1\nsection:\n  key: 1\n  other: 2\n  key: 3\n")
    with pytest.raises(
        RecipeError, match=r"a\.yaml: not valid YAML \(line 5: 'key' is written twice, first in line 3"
    ):
        read_settings(path, "a recipe", RecipeError)


def test_equal_keys_of_different_mappings_are_no_mistake(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {key: 1, other: 2}\nmine: {<<: *base, key: 3}\nlist: [{key: 1}, {key: 2}]\n")
    values = read_settings(path, "a recipe", RecipeError)
    assert values["mine"] == {"key": 3, "other": 2}
    assert values["list"] == [{"key": 1}, {"key": 2}]
