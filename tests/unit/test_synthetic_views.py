"""Views of the synthetic corpus say less, or hold fewer rows, and are true; nothing is spoken for them."""

import re
from collections import Counter

import numpy as np
import pytest

from raclap.corpora.synthetic import plan
from raclap.corpora.synthetic_captions import PLAIN
from raclap.corpora.synthetic_views import KINDS, RARE, TAGS, VIEWS, build_views, rows_of
from raclap.corpora.synthetic_words import WORDS
from raclap.data.manifest import SPLITS, read_manifest, write_manifest
from raclap.data.tags import read_tag_groups
from raclap.errors import ManifestError, RaClapError
from raclap.files import write_text

CAPTIONED = [name for name, view in VIEWS.items() if not view.thinned]
SEXED = {
    "female": {"woman", "lady", "girl", "schoolgirl", "female", "she", "her"},
    "male": {"man", "gentleman", "boy", "schoolboy", "male", "he", "his"},
}


def write_corpus(cache, scale, seed=0):
    folder = cache / "craft_like"
    write_manifest(folder / "manifest.parquet", (u.pair for u in plan("craft_like", scale, seed)), folder)
    return read_manifest(folder / "manifest.parquet")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), 1.0)


@pytest.fixture(scope="module")
def views(corpus):
    return {name: list(rows_of(name, corpus)) for name in VIEWS}


def test_views_hold_the_clips_of_the_corpus(corpus, views):
    clips = {pair.pair_id: pair for pair in corpus}
    for name, rows in views.items():
        assert {pair.corpus for pair in rows} == {name}
        for pair in rows:
            same = clips[pair.pair_id]
            assert (pair.audio, pair.split, pair.attributes, pair.style_key, pair.speaker) == (
                same.audio, same.split, same.attributes, same.style_key, same.speaker,
            )  # fmt: skip
            assert len(pair.captions) == len(same.captions) == len({caption.text for caption in pair.captions})
    for name in CAPTIONED:
        assert [pair.pair_id for pair in views[name]] == [pair.pair_id for pair in corpus]


@pytest.mark.parametrize("name", CAPTIONED)
def test_captions_name_as_many_of_each_kind_as_the_view_says(views, name):
    seen = set()
    for pair in views[name]:
        for caption in pair.captions:
            assert set(caption.names) <= set(pair.attributes)
            numbers = []
            for kind, (least, most) in (
                ("intrinsic", VIEWS[name].intrinsic), ("situational", VIEWS[name].situational),
            ):  # fmt: skip
                number = len(set(caption.names) & set(KINDS[kind]))
                assert least <= number <= most
                numbers.append(number)
            assert sum(numbers) == len(caption.names)
            seen.add(tuple(numbers))
    intrinsic, situational = VIEWS[name].intrinsic, VIEWS[name].situational
    every = {(i, s) for i in range(intrinsic[0], intrinsic[1] + 1) for s in range(situational[0], situational[1] + 1)}
    assert seen == every


@pytest.mark.parametrize("name", CAPTIONED)
def test_captions_say_what_they_name_and_nothing_else(views, name):
    for pair in views[name]:
        for caption in pair.captions:
            said = caption.text
            assert '"' not in said and pair.transcript.removesuffix(".") not in said
            told = {sex for sex, words in SEXED.items() if set(re.findall(r"[a-z]+", said.lower())) & words}
            assert told == ({pair.sex} if "sex" in caption.names else set())
            for attribute in set(pair.attributes) - {"sex", "age"}:
                words = [
                    w for kind in WORDS.values() for w in kind.get(attribute, {}).get(pair.attributes[attribute], ())
                ]
                if attribute in caption.names:
                    assert any(word in said for word in words), caption.text


@pytest.mark.parametrize("name", CAPTIONED)
def test_captions_are_sentences(views, name):
    for pair in views[name]:
        for text in (caption.text for caption in pair.captions):
            assert re.fullmatch(r"[A-Z].*\.", text)
            assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]|  |[{}]|\b(\w+) \1\b|,,|, \.| \.|\.\.", text), text


def test_every_split_has_plain_templates_of_its_own():
    for slots in range(2):
        together = [template for split in SPLITS for template in PLAIN[split][slots]]
        assert len(set(together)) == len(together)
        assert all(template.count("{phrases}") + template.count("{clauses}") + template.count("{nouns}") == slots
                   for template in together)  # fmt: skip
        assert not any("{quote}" in template for template in together)


@pytest.mark.parametrize("name", ["craft_like_single_intrinsic", "craft_like_single_situational"])
def test_every_value_is_named_by_itself(views, name):
    kind = name.rpartition("_")[2]
    for split in SPLITS:
        values = {
            (caption.names[0], pair.attributes[caption.names[0]])
            for pair in views[name] if pair.split == split for caption in pair.captions
        }  # fmt: skip
        assert values == {(a, p.attributes[a]) for p in views[name] for a in KINDS[kind] if a in p.attributes}


def test_tags_are_the_marked_values_by_kind(views):
    unmarked = {"normal", "neutral", "modal", "adult"}
    for rows in views.values():
        for pair in rows:
            expected = {
                f"{kind}:{TAGS[name][value]}"
                for kind, names in KINDS.items() for name in names
                if (value := pair.attributes.get(name)) and value not in unmarked
            }  # fmt: skip
            assert set(pair.tags) == expected
            assert len(pair.tags) == len(expected)
    # A tag means one value, whatever its group.
    words = [tag for values in TAGS.values() for tag in values.values()]
    assert len(set(words)) == len(words)


def test_the_thinned_view_makes_some_values_rare_in_training_alone(corpus, views):
    rows = views["craft_like_rare"]
    train = [pair for pair in rows if pair.split == "train"]
    for attribute, shares in RARE.items():
        found = Counter(pair.attributes[attribute] for pair in train)
        for value, count in found.items():
            share = count / len(train)
            assert 0.02 < share < 0.04 if value in shares else share > 0.1, (attribute, value)
        assert set(found) == {pair.attributes[attribute] for pair in corpus}
    rest = {pair.pair_id for pair in corpus if pair.split != "train"}
    assert {pair.pair_id for pair in rows if pair.split != "train"} == rest
    common = [p for p in corpus if p.split == "train" and not any(p.attributes[a] in RARE[a] for a in RARE)]
    assert {pair.pair_id for pair in common} <= {pair.pair_id for pair in train}
    captions = {pair.pair_id: pair.captions for pair in corpus}
    assert all(pair.captions == captions[pair.pair_id] for pair in rows)


def test_written_once_and_renewed_with_the_corpus(tmp_path):
    write_corpus(tmp_path, 0.02)
    paths = build_views(tmp_path)
    assert set(paths) == set(VIEWS)
    first = {name: path.read_bytes() for name, path in paths.items()}
    times = {name: path.stat().st_mtime_ns for name, path in paths.items()}
    build_views(tmp_path)
    assert times == {name: path.stat().st_mtime_ns for name, path in paths.items()}
    corpus = write_corpus(tmp_path, 0.02, seed=1)
    build_views(tmp_path)
    for name, path in paths.items():
        assert path.read_bytes() != first[name]
        assert list(read_manifest(path)) == list(rows_of(name, corpus))
    write_corpus(tmp_path, 0.02)
    build_views(tmp_path)
    assert first == {name: path.read_bytes() for name, path in paths.items()}


def test_views_move_with_their_corpus(tmp_path):
    write_corpus(tmp_path / "here", 0.02)
    build_views(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = read_manifest(tmp_path / "there" / "craft_like_rare" / "manifest.parquet")
    assert moved.audio_root == tmp_path / "there" / "craft_like"


def test_groups_of_tags_are_found(tmp_path):
    write_corpus(tmp_path, 0.1)
    path = build_views(tmp_path)["craft_like_intrinsic"]
    groups = read_tag_groups([read_manifest(path)], ["intrinsic", "situational", "emotion"])
    assert [len(group.tags) for group in groups] == [9, 10, 7]
    assert np.all([min(group.counts) > 0 for group in groups])


def test_foreign_folder_is_left_alone_and_the_corpus_is_needed(tmp_path):
    with pytest.raises(ManifestError, match="craft_like"):
        build_views(tmp_path)
    write_corpus(tmp_path, 0.02)
    write_text(tmp_path / "craft_like_composed" / "mine.txt", "precious")
    with pytest.raises(RaClapError, match="craft_like_composed: is not empty and not a view"):
        build_views(tmp_path)
    assert (tmp_path / "craft_like_composed" / "mine.txt").read_text() == "precious"
