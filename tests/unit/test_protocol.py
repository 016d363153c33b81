from pathlib import Path

import pytest

from raclap.corpora import crema_d, emodb, esd, iemocap, msp_podcast, ravdess, tess
from raclap.errors import RecipeError
from raclap.retrieval.protocol import fill, load_protocol, protocol_of_values

PROTOCOLS = Path(__file__).parents[2] / "configuration" / "protocols"
LABELS = {
    "ravdess_8": ravdess._CODES["emotion"],
    "crema_d_6": crema_d._EMOTIONS,
    "emodb_7": emodb._EMOTIONS,
    "tess_7": tess._EMOTIONS,
    "iemocap_4": iemocap._EMOTIONS,
    "esd_5": esd._EMOTIONS,
    "msp_podcast": msp_podcast._EMOTIONS,
    "ravdess_emodb_9": {**ravdess._CODES["emotion"], **emodb._EMOTIONS},
}
# Those that ParaSpeechCLAP publishes.
STYLES = {
    "pitch": {"shrill", "nasal", "deep"},
    "texture": {"silky", "husky", "raspy", "guttural", "vocal-fry"},
    "volume": {"booming", "authoritative", "loud", "hushed", "soft"},
    "clarity": {"crisp", "slurred", "lisp", "stammering"},
    "rhythm": {"flowing", "punctuated", "hesitant", "singsong", "monotonous"},
    "situational": {
        *("angry", "guilt", "scared", "happy", "loud", "sarcastic", "sympathetic", "desirous", "enthusiastic"),
        *("saddened", "anxious", "sleepy", "admiring", "disgusted", "awed", "pained", "fast", "calm", "whispered"),
        *("enunciated", "confused"),
    },
}


def write(folder: Path, content: str) -> Path:
    path = folder / "mood.yaml"
    path.write_text(content)
    return path


def test_sentences_are_read_in_order(tmp_path):
    path = write(tmp_path, "column: emotion\nclasses:\n  sad: [a sad voice]\n  angry: [an angry voice, shouting]\n")
    protocol = load_protocol(path)
    assert (protocol.name, protocol.column, protocol.split) == ("mood", "emotion", "test")
    assert list(protocol.prompts.items()) == [("sad", ("a sad voice",)), ("angry", ("an angry voice", "shouting"))]


def test_words_are_put_into_every_template(tmp_path):
    content = "column: emotion\nsplit: train\nlabels: {cross: angry}\nleave_out: [other]\n"
    content += "templates: ['a {} voice', 'it is {}']\nclasses: {sad: [sad], angry: [angry, mad]}\n"
    protocol = load_protocol(write(tmp_path, content))
    assert protocol.classes == ("sad", "angry")
    assert protocol.prompts["angry"] == ("an angry voice", "a mad voice", "it is angry", "it is mad")
    assert (protocol.labels, protocol.leave_out, protocol.split) == ({"cross": "angry"}, ("other",), "train")


def test_articles_follow_the_word():
    assert fill("A {} voice, and a {} one.", "old") == "An old voice, and an old one."
    assert fill("Data {} and {}.", "old") == "Data old and old."


def test_values_are_classes_in_order():
    protocol = protocol_of_values("texture", ["vocal_fry", "husky", "husky"], ["a {} voice"], "train")
    assert protocol.prompts == {"husky": ("a husky voice",), "vocal_fry": ("a vocal fry voice",)}
    assert (protocol.column, protocol.split) == ("texture", "train")


@pytest.mark.parametrize(
    ("values", "templates", "message"),
    [
        (["a", "b"], ["a voice"], "--column mood: 'a voice' has no {}"),
        (["sad", "Sad"], ["{}"], "the classes 'Sad' and 'sad' are the same but for case"),
        (["vocal fry", "vocal-fry"], ["{}"], "are the same but for case, spaces or hyphens"),
    ],
)
def test_values_that_are_no_classes(values, templates, message):
    with pytest.raises(RecipeError, match=message):
        protocol_of_values("mood", values, templates)


CLASSES = "classes: {a: [x], b: [y]}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("column: [", "not valid YAML"),
        ("- a\n- b", "a protocol is a mapping of keys, not list"),
        ("column: emotion\nclases: {}", r"unknown key 'clases' \(did you mean 'classes'\?\); the keys"),
        (CLASSES, "'column' must name"),
        ("column: emotion\nsplit: dev\n" + CLASSES, "split: 'dev'; expected one of train, validation, test"),
        ("column: emotion\nabout: [a]\n" + CLASSES, "about: expected text, not list"),
        ("column: emotion\nclasses: {a: [x]}", "at least two classes"),
        ("column: emotion\nclasses: {a: [x], b: []}", r"classes\.b: expected a list of words or sentences"),
        ("column: emotion\nclasses: {a: [x], b: y}", r"classes\.b: expected a list of words or sentences"),
        ("column: emotion\nclasses: {a: [x], b: [' ']}", r"classes\.b: expected a list of words or sentences"),
        ("column: creaky\nclasses: {yes: [x], 'no': [y]}", r"classes\.True: .* put it in quotes"),
        ("column: emotion\nclasses:\n  a: [x]\n  b: [y]\n  a: [z]", "line 5: 'a' is written twice, first in line 3"),
        ("column: emotion\nclasses: {very sad: [x], Very-Sad: [y]}", "the classes 'very sad' and 'Very-Sad' are the"),
        ("column: emotion\nclasses: {a: [x, y], b: [z, Y.]}", r"classes\.a and classes\.b both have 'Y\.'"),
        ("column: emotion\nclasses: {a: [x, x], b: [z]}", r"classes\.a has twice 'x'"),
        ("column: emotion\ntemplates: [a voice]\n" + CLASSES, "templates: 'a voice' has no {}"),
        ("column: emotion\ntemplates: ['a {mood} voice']\n" + CLASSES, "templates: .* has no {}"),
        ("column: emotion\ntemplates: []\n" + CLASSES, "templates: expected a list of sentences"),
        ("column: emotion\nclasses: {a: ['x {}'], b: [y]}", r"classes\.a: {} is for 'templates'"),
        ("column: emotion\nlabels: {c: d}\n" + CLASSES, r"labels\.c: 'd' is no class"),
        ("column: emotion\nlabels: [c]\n" + CLASSES, "labels: expected a class for each label"),
        ("column: emotion\nlabels: {a: b}\n" + CLASSES, "labels: 'a' is a class already"),
        ("column: emotion\nleave_out: [b]\n" + CLASSES, "leave_out: 'b' is a class already"),
        ("column: emotion\nleave_out: c\n" + CLASSES, "leave_out: expected a list of labels"),
        ("column: emotion\nlabels: {c: a}\nleave_out: [c]\n" + CLASSES, "'c' is both in 'labels' and in 'leave_out'"),
    ],
)
def test_protocols_that_cannot_be_read_name_file_and_key(tmp_path, content, message):
    with pytest.raises(RecipeError, match=rf"mood\.yaml: .*{message}|mood\.yaml: {message}"):
        load_protocol(write(tmp_path, content))


def test_protocols_that_are_not_there(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read \(No such file"):
        load_protocol(tmp_path / "none.yaml")


def test_every_protocol_is_tested():
    expected = {*LABELS, *(f"paraspeechclap_{name}" for name in STYLES)}
    assert {path.stem for path in PROTOCOLS.glob("*.yaml")} == expected


@pytest.mark.parametrize("name", LABELS)
def test_emotion_protocols_know_the_words_of_their_corpus(name):
    protocol = load_protocol(PROTOCOLS / f"{name}.yaml")
    words = set(LABELS[name].values()) - {None}
    assert set(protocol.classes) | set(protocol.labels) | set(protocol.leave_out) == words
    assert protocol.column == "emotion" and protocol.about and protocol.source
    if name != "iemocap_4":
        assert set(protocol.classes) == words


def test_emotion_protocols_say_the_same_of_a_class():
    said: dict[str, set] = {}
    for name in LABELS:
        for label, sentences in load_protocol(PROTOCOLS / f"{name}.yaml").prompts.items():
            said.setdefault(label, set()).add(sentences)
    assert all(len(versions) == 1 for versions in said.values())


@pytest.mark.parametrize("name", STYLES)
def test_style_protocols_have_the_published_classes(name):
    protocol = load_protocol(PROTOCOLS / f"paraspeechclap_{name}.yaml")
    assert set(protocol.classes) == STYLES[name]
    assert protocol.column == "classification_tag"
    assert all(len(sentences) >= 3 for sentences in protocol.prompts.values())


def test_the_page_names_every_protocol():
    page = (PROTOCOLS.parents[1] / "docs" / "classification.md").read_text(encoding="utf-8")
    for path in PROTOCOLS.glob("*.yaml"):
        first, _, last = path.stem.partition("paraspeechclap")
        assert f"`{path.stem}`" in page or (not first and f"`{last}`" in page), path.stem
