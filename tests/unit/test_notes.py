"""What relations must know of pairs."""

from dataclasses import replace

import pytest
import torch

from conftest import RATE
from raclap.data.dataset import PairCollator, PairDataset
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import Caption, read_manifest, write_manifest
from raclap.data.notes import NOTE, AttributeCodes, CaptionCodes, StoredEmbeddings, StyleCodes, split_notes
from raclap.data.sampling import Draw
from raclap.errors import ManifestError


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
