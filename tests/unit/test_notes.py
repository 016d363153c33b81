"""What relations must know of pairs."""

from dataclasses import replace

import pytest
import torch

from conftest import RATE
from raclap.data.dataset import PairCollator, PairDataset
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import Caption, read_manifest, write_manifest
from raclap.data.notes import (
    NOTE,
    AffectNotes,
    AttributeCodes,
    CaptionCodes,
    MergedNotes,
    StoredEmbeddings,
    StyleCodes,
    TagNotes,
    split_notes,
)
from raclap.data.sampling import Draw
from raclap.data.tags import read_tag_groups
from raclap.errors import ManifestError, RecipeError


def inspected(path):
    return inspect_audio(read_manifest(path).split("train"), RATE, lambda clip: clip, check="none", progress=False)


@pytest.fixture
def two(corpora):
    return [inspected(corpora["small"]), inspected(corpora["medium"])]


@pytest.fixture
def changed(tmp_path, corpora):
    """The small corpus with every pair changed by a function."""

    def change(edit):
        manifest = read_manifest(corpora["small"])
        write_manifest(tmp_path / "manifest.parquet", [edit(pair) for pair in manifest], manifest.audio_root)
        return inspected(tmp_path / "manifest.parquet")

    return change


def test_equal_captions_have_equal_codes_across_corpora(two):
    codes = CaptionCodes()
    pairs = [pair for corpus in two for pair in corpus.manifest]
    for row, pair in enumerate(pairs):
        for caption in range(2):
            same = codes(pair, row, caption)["codes"] == codes(pairs[0], 0, 0)["codes"]
            assert same == (pair.captions[caption].text == pairs[0].captions[0].text)


def test_equal_style_keys_have_equal_codes_and_rows_without_a_key_are_alone(two, changed):
    codes = StyleCodes(two)
    pairs = [pair for corpus in two for pair in corpus.manifest]
    for row, pair in enumerate(pairs):
        same = codes(pair, row, 0)["codes"] == codes(pairs[1], 1, 1)["codes"]
        assert same == (pair.style_key == pairs[1].style_key)
    some = changed(lambda pair: replace(pair, style_key=None) if pair.attributes["pitch"] == "low" else pair)
    alone = [row for row, key in enumerate(some.manifest.column("style_key")) if key is None]
    found = StyleCodes([some])
    everything = [int(found(pair, row, 0)["codes"]) for row, pair in enumerate(some.manifest)]
    assert all(everything.count(everything[row]) == 1 for row in alone)


def test_style_needs_style_keys(changed):
    with pytest.raises(ManifestError, match=r"manifest.parquet: the relation 'style' needs the column 'style_key'"):
        StyleCodes([changed(lambda pair: replace(pair, style_key=None))])


def test_attributes_hold_for_the_pair_itself_and_only_what_is_named_is_wanted(two):
    codes = AttributeCodes(two)
    pairs = [pair for corpus in two for pair in corpus.manifest]
    both, pitch_alone = codes(pairs[0], 0, 0), codes(pairs[0], 0, 1)
    assert torch.equal(both["held"], both["wanted"])
    assert pitch_alone["wanted"].tolist() == [both["held"][0], -1]  # attributes in order of name: pitch, volume
    for row, pair in enumerate(pairs):
        equal = codes(pair, row, 0)["held"] == both["held"]
        assert equal.tolist() == [pair.attributes[name] == pairs[0].attributes[name] for name in ("pitch", "volume")]


def test_attributes_need_to_know_what_captions_name(changed):
    silent = changed(lambda pair: replace(pair, captions=(Caption("a voice"),)))
    with pytest.raises(ManifestError, match=r"row small-train-0: the relation 'attributes' needs to know what the"):
        AttributeCodes([silent])
    wrong = changed(lambda pair: replace(pair, captions=(Caption("a voice", ("speed",)),)))
    with pytest.raises(ManifestError, match="names 'speed', which the row does not have"):
        AttributeCodes([wrong])


def rated(pair, valence=(0.0, 1.0)):
    """Valence as given for low and other pitches; arousal by volume, on the same scale."""
    low, high = valence
    return replace(
        pair,
        valence=low if pair.attributes["pitch"] == "low" else high,
        arousal=low if pair.attributes["volume"] == "quiet" else high,
    )


def affect(notes, corpora):
    """Of all rows of several corpora, numbered through."""
    pairs = [pair for corpus in corpora for pair in corpus.manifest]
    return torch.stack([notes(pair, row, 0)["affect"] for row, pair in enumerate(pairs)])


def test_affect_of_corpora_on_scales_of_their_own_is_the_same(changed):
    small = changed(lambda pair: rated(pair, (-1.0, 1.0)))
    large = changed(lambda pair: rated(pair, (2.0, 6.0)))
    values = affect(AffectNotes([small, large]), [small, large])
    assert values.dtype == torch.float32
    torch.testing.assert_close(*values.split(len(small.manifest)))
    own = values[: len(small.manifest)].double()
    torch.testing.assert_close(own.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-6)
    assert own.var(0, unbiased=False).mean() == pytest.approx(1, abs=1e-6)


def test_within_a_corpus_affect_keeps_the_order_of_distances(changed):
    """One factor for both dimensions: wide valence stays wide beside narrow arousal."""
    corpus = changed(lambda pair: replace(rated(pair), valence=7.0 * len(pair.attributes["pitch"])))
    raw = torch.tensor([[pair.valence, pair.arousal] for pair in corpus.manifest])
    found = torch.cdist(*[affect(AffectNotes([corpus]), [corpus])] * 2)
    torch.testing.assert_close(found / found.max(), torch.cdist(raw, raw) / torch.cdist(raw, raw).max())


def test_rows_without_affect_have_none_and_count_in_no_mean(changed):
    full = changed(lambda pair: rated(pair, (1.0, 5.0)))
    expected = affect(AffectNotes([full]), [full])
    without = changed(
        lambda pair: (
            replace(pair, valence=None, arousal=float("nan"))
            if pair.attributes["pitch"] == "high"
            else rated(pair, (1.0, 5.0))
        )
    )
    found = affect(AffectNotes([without]), [without])
    high = torch.tensor([pair.attributes["pitch"] == "high" for pair in full.manifest])
    assert found[high].isnan().all() and not found[~high].isnan().any()
    assert not torch.allclose(found[~high], expected[~high]), "means are of the rows that have both"
    assert found[~high].mean(0)[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda pair: pair, RecipeError, r"objective.rank: no row of .*manifest.parquet has valence and arousal"),
        (lambda pair: replace(pair, valence=1.0), ManifestError, "row small-train-0: valence without arousal"),
        (
            lambda pair: replace(rated(pair), valence=None) if pair.pair_id == "small-train-3" else rated(pair),
            ManifestError,
            r"manifest.parquet: row small-train-3: arousal without valence",
        ),
        (
            lambda pair: replace(pair, valence=3.0, arousal=4.0),
            ManifestError,
            r"the same in all 18 training rows .* no order to learn",
        ),
        (
            lambda pair: replace(rated(pair), arousal=float("inf")),
            ManifestError,
            "row small-train-0: arousal is not finite",
        ),
    ],
)
def test_affect_that_gives_no_order_is_refused(changed, edit, error, message):
    with pytest.raises(error, match=message):
        AffectNotes([changed(edit)])


def test_tags_are_told_group_after_group(changed):
    corpus = changed(lambda pair: replace(pair, tags=("room:wet", f"how:{pair.attributes['volume']}", "plain")[:2]))
    mixed = changed(
        lambda pair: replace(pair, tags=("room:dry", "room:wet") if pair.attributes["pitch"] == "low" else ())
    )
    groups = read_tag_groups([corpus.manifest, mixed.manifest], ["room", "how", "pitch"])
    notes = TagNotes(groups)
    names = [(group.name, tag) for group in groups for tag in group.tags]
    assert [name for name, _ in names] == ["room"] * 2 + ["how"] * 2 + ["pitch"] * 3
    for row, pair in enumerate([*corpus.manifest, *mixed.manifest]):
        found = notes(pair, row, 0)["tags"]
        has = {("pitch", pair.attributes["pitch"]), *(tuple(tag.split(":")) for tag in pair.tags)}
        assert found.dtype == torch.bool and {name for name, y in zip(names, found, strict=True) if y} == has


def test_notes_of_several_makers_stand_beside_each_other(two):
    pair = next(iter(two[0].manifest))
    merged = MergedNotes([CaptionCodes(), AttributeCodes(two)])(pair, 0, 0)
    assert set(merged) == {"codes", "held", "wanted"}
    with pytest.raises(ValueError, match="the note 'codes' is made twice"):
        MergedNotes([CaptionCodes(), StyleCodes(two)])(pair, 0, 0)


def test_notes_travel_with_the_caption_that_was_drawn(two):
    captions = {c["text"] for corpus in two for row in corpus.manifest.column("captions") for c in row}
    text = {caption: torch.full((2,), float(number)) for number, caption in enumerate(sorted(captions))}
    rows = sum(len(corpus.manifest) for corpus in two)
    notes = StoredEmbeddings(torch.arange(float(rows))[:, None], text)
    dataset = PairDataset(two, None, notes=notes)
    for number in range(20):
        example = dataset[Draw(number * 2, number)]
        assert torch.equal(example.notes["text"], text[example.caption])
        assert example.notes["audio"].item() == number * 2


def test_a_batch_is_split_into_inputs_and_notes(two):
    class Processor:
        def __call__(self, text, audio, prepared):
            return {"input_ids": torch.zeros(len(text), 3), "input_features": torch.ones(len(audio), 4, 2),
                    "audio_attention_mask": torch.ones(len(audio), 4)}  # fmt: skip

    def blank(features, frames, generator):
        features.zero_()

    dataset = PairDataset(two, None, notes=CaptionCodes())
    batch = PairCollator(Processor(), blank, keep_unmasked=True)([dataset[Draw(row, row)] for row in range(3)])
    inputs, notes = split_notes(batch)
    assert set(inputs) == {"input_ids", "input_features", "audio_attention_mask"}
    assert set(notes) == {"codes", "input_features"} and NOTE + "codes" in batch
    assert inputs["input_features"].sum() == 0
    assert notes["input_features"].sum() == 3 * 4 * 2, "what a teacher sees is not masked"
