from pathlib import Path

import pytest

from raclap.archive.vocabulary import read_vocabulary
from raclap.errors import RecipeError

PROTOCOLS = Path(__file__).parents[2] / "configuration" / "protocols"


def write(folder: Path, content: str | bytes, name: str = "styles.txt") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_list_is_one_group_and_its_tags_are_others(tmp_path):
    path = write(tmp_path, "\ufeff# remark\nwhispering\n\n emotion : happy \nvocal_fry\nemotion:sad\n")
    styles, emotion = read_vocabulary([path])
    assert (styles.name, styles.prompts) == (
        "styles",
        {
            "whispering": ("A person speaking in a whispering voice.",),
            "vocal_fry": ("A person speaking in a vocal fry voice.",),
        },
    )
    assert (emotion.name, emotion.classes) == ("emotion", ("happy", "sad"))


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", 'label,note\nold,"x, y"\nyoung,\n'), ("a.tsv", "old\tx\nyoung\n")]
)
def test_the_first_column_of_a_table_is_read(tmp_path, name, content):
    (group,) = read_vocabulary([write(tmp_path, content, name)], ["It is {}.", "{} speech"])
    assert group.prompts == {"old": ("It is old.", "old speech"), "young": ("It is young.", "young speech")}


def test_a_protocol_is_a_group_with_its_own_sentences_and_needs_no_column(tmp_path):
    path = write(tmp_path, "templates: ['a {} voice']\nclasses: {sad: [sad, low], angry: [angry]}\n", "mood.yaml")
    (group,) = read_vocabulary([f"feeling={path}"])
    assert (group.name, group.prompts) == (
        "feeling",
        {"sad": ("a sad voice", "a low voice"), "angry": ("an angry voice",)},
    )
    groups = read_vocabulary([str(path) for path in sorted(PROTOCOLS.glob("*.yaml"))])
    assert [group.name for group in groups] == [path.stem for path in sorted(PROTOCOLS.glob("*.yaml"))]


@pytest.mark.parametrize(
    ("content", "templates", "message"),
    [
        ("", None, "no labels; expected one a line"),
        ("# only a remark\n", None, "no labels"),
        ("sad\nsad\n", None, "the label 'sad' comes twice"),
        ("vocal fry\nVocal-fry\n", None, "'vocal fry' and 'Vocal-fry' are the same but for case"),
        ("sad\n", None, "'sad' is the one label of 'styles'; expected two or more"),
        ("emotion:\nsad\n", None, "'emotion:' is no label; expected LABEL or GROUP:LABEL"),
        ("sad\nangry\n", ["A voice."], r"'A voice\.' has no \{\}"),
        (b"\xff\xfe\x00", None, "not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_in_a_sentence(tmp_path, content, templates, message):
    path = write(tmp_path, content)
    with pytest.raises(RecipeError, match=message) as error:
        read_vocabulary([path], templates)
    assert str(error.value).startswith(path) and "\n" not in str(error.value)


def test_groups_of_one_name_templates_for_protocols_and_missing_files_are_refused(tmp_path):
    path = write(tmp_path, "sad\nangry\n")
    with pytest.raises(RecipeError, match=r"the group 'styles' is in .*styles\.txt already; name one of them"):
        read_vocabulary([path, path])
    assert [group.name for group in read_vocabulary([path, f"more={path}"])] == ["styles", "more"]
    with pytest.raises(RecipeError, match="a protocol has its own sentences"):
        read_vocabulary([str(PROTOCOLS / "ravdess_8.yaml")], ["{}"])
    with pytest.raises(RecipeError, match=r"none\.txt: cannot be read"):
        read_vocabulary([str(tmp_path / "none.txt")])
