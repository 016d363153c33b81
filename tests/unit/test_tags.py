"""Tags by group: column-wise counts agree with what each pair says by itself."""

from collections import Counter

import numpy as np
import pytest

from raclap.data import tags
from raclap.data.manifest import Caption, Manifest, Pair, read_manifest, write_manifest
from raclap.data.tags import TagGroup, read_tag_groups, tag_entries, tags_in
from raclap.errors import RecipeError


def make_manifest(folder, rows, name="some") -> Manifest:
    """A manifest of rows that are (tags, attributes) alone."""
    pairs = [
        Pair(f"{name}-{i}", f"{i}.flac", (Caption("a voice"),), name, "train", tags=tags, attributes=attributes)
        for i, (tags, attributes) in enumerate(rows)
    ]
    path = folder / name / "manifest.parquet"
    path.parent.mkdir()
    write_manifest(path, pairs, path.parent)
    return read_manifest(path)


@pytest.fixture
def manifests(tmp_path):
    rng = np.random.default_rng(0)
    words = ["intrinsic:deep", "intrinsic:old", "situational:sad", "situational:loud", "sad", "intrinsic:", "tone:a"]
    rows = []
    for _ in range(300):
        chosen = tuple(rng.choice(words, rng.integers(0, 5)).tolist())
        attributes = {"emotion": str(rng.choice(["sad", "happy"]))} if rng.random() < 0.7 else {}
        if rng.random() < 0.5:
            attributes["tone"] = str(rng.choice(["a", "b"]))
        rows.append((chosen, attributes))
    return [make_manifest(tmp_path, rows[:200], "one"), make_manifest(tmp_path, rows[200:], "two")]


GROUPS = ("intrinsic", "situational", "emotion", "tone")


@pytest.mark.parametrize("together", [7, 65_536])
def test_groups_are_what_the_pairs_say_one_by_one(manifests, together, monkeypatch):
    monkeypatch.setattr(tags, "_ROWS", together)
    chosen = [manifests[0].rows(np.arange(150)[::-1]), manifests[1]]
    for group in read_tag_groups(chosen, GROUPS):
        counts = Counter(
            tag for manifest in chosen for p in manifest for tag in tags_in(group.name, p.tags, p.attributes)
        )
        assert dict(zip(group.tags, group.counts, strict=True)) == counts
        assert list(group.tags) == sorted(group.tags)
    for name in GROUPS:
        entries = tag_entries(chosen[0], name)
        found = sorted((row, entries.tags[code]) for row, code in zip(entries.rows, entries.codes, strict=True))
        expected = [(i, tag) for i, p in enumerate(chosen[0]) for tag in tags_in(name, p.tags, p.attributes)]
        assert found == sorted(expected)
        assert (np.diff(entries.rows) >= 0).all()


def test_a_row_counts_once_for_a_tag_and_falls_back_to_its_attribute(tmp_path):
    rows = [(("tone:a", "tone:a"), {"tone": "b"}), ((), {"tone": "b"}), (("a",), {}), (("tone:",), {"tone": "a"})]
    manifest = make_manifest(tmp_path, rows)
    assert read_tag_groups([manifest], ["tone"]) == (TagGroup("tone", ("a", "b"), (2, 1)),)


def test_tags_without_a_colon_and_nothing_belong_to_no_group():
    assert tags_in("sad", ("sad", "sadness:x"), {}) == ()
    assert tags_in("sad", None, {}) == ()


def test_unknown_group_names_what_there_is(manifests):
    with pytest.raises(RecipeError, match=r"one/manifest.*two/manifest") as raised:
        read_tag_groups(manifests, ["intrinsic", "situation"])
    message = str(raised.value)
    assert "'situation:…'" in message
    assert "groups intrinsic, situational, tone and the attributes emotion, tone" in message
    assert "did you mean 'situational'?" in message


def test_nothing_to_tell_apart_is_an_error(tmp_path):
    manifest = make_manifest(tmp_path, [(("tone:a",), {}), ((), {})])
    with pytest.raises(RecipeError, match=r"'tone' has one tag alone in .*, 'a'"):
        read_tag_groups([manifest], ["tone"])


def test_no_tags_at_all_say_so(tmp_path):
    with pytest.raises(RecipeError, match=r"groups \(none\) and the attributes \(none\)$"):
        read_tag_groups([make_manifest(tmp_path, [((), {}), ((), {})])], ["tone"])
