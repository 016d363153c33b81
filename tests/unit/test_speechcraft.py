import json
import tracemalloc
from pathlib import Path

import pytest
from corpus_fixtures import Release
from corpus_fixtures import speechcraft as fixture

from raclap.corpora import speechcraft
from raclap.corpora.listing import CorpusListing
from raclap.corpora.tables import read_table
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError

LABELS = "age:Elderly\tgender:male\tpitch:low\tvolume:high\tspeed:fast\temotion:sad\ttranscription: Yes"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return fixture.make(tmp_path)


def read(release: Release, **options) -> CorpusListing:
    return CorpusListing.of(speechcraft.read(release.root, **release.options, **options))


def write(folder: Path, text: str) -> Path:
    path = folder / "annotations.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_entry_holds_what_its_labels_say(release: Release):
    first, second, third, fourth = read(release, validation_share=0, test_share=0, licence="mixed").pairs
    assert third == Pair(
        pair_id="speechcraft_121550_84_121550_000007_000000",
        audio="LibriTTS_R/dev-clean/84/121550/84_121550_000007_000000.wav",
        captions=(Caption("An elderly woman speaks softly, “at leisure”."),),
        corpus="speechcraft",
        split="train",
        transcript="“Nothing,” she said",
        speaker="libritts_84",
        sex="female",
        age="elderly",
        language="en",
        emotion="neutral",
        attributes={
            "sex": "female", "age": "elderly", "pitch": "normal", "volume": "low", "speed": "slow",
            "emotion": "neutral",
        },
        style_key="age=elderly|emotion=neutral|pitch=normal|sex=female|speed=slow|volume=low",
        licence="mixed",
    )  # fmt: skip
    assert first.audio == "GigaSpeech/m_chunks_0000/POD0000000094_S0000000.wav"
    assert first.transcript == "He said: two things, really."
    assert (first.speaker, first.emotion, "emotion" in first.attributes) == (None, None, False)
    assert (second.age, second.transcript) == ("young adult", None)
    assert fourth.attributes.keys() == third.attributes.keys()


def test_both_captions_of_an_entry_are_taken(release: Release):
    assert read(release).pairs[1].captions == (
        Caption("A young woman is angry."),
        Caption("The speaker speaks in high pitch."),
    )


def test_splits_keep_speakers_and_recordings_whole(tmp_path: Path):
    keys = [
        f"{kind}{place:010d}_S{segment:07d}" for kind in ("POD", "YOU") for place in range(20) for segment in (1, 2)
    ]
    path = write(tmp_path, json.dumps({key: {"labels": LABELS, "llama-instruction": "A man."} for key in keys}))
    splits: dict[str, set[str]] = {}
    for pair in speechcraft.read(path, validation_share=0.3, test_share=0.3):
        splits.setdefault(pair.pair_id.partition("_S")[0], set()).add(pair.split)
    assert len(splits) == 40
    assert all(len(own) == 1 for own in splits.values())
    assert set.union(*splits.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"labels": LABELS}, "no caption; expected llama-instruction or text_style_target"),
        ({"labels": LABELS.replace("low", "deep"), "llama-instruction": "A man"}, "column 'pitch' is 'deep'"),
        ({"labels": LABELS.replace("Elderly", "Old"), "llama-instruction": "A man"}, "column 'age' is 'Old'"),
        ({"labels": "gender:male, pitch:low", "llama-instruction": "A man"}, "no label 'pitch'; the labels are"),
        ({"labels": "male\tlow", "llama-instruction": "A man"}, "the label 'male'; expected NAME:VALUE, with tabs"),
        ({"labels": None, "llama-instruction": "A man"}, "column 'labels' is empty"),
    ],
)  # fmt: skip
def test_bad_entries_are_errors_or_counted(release: Release, entry: dict, message: str):
    entries = {**fixture.ENTRIES["gigaspeech"], "POD0000000094_S0000002": entry}
    (release.root / "gigaspeech.json").write_text(json.dumps(entries))
    with pytest.raises(ManifestError, match=f"gigaspeech.json: key 'POD0000000094_S0000002': {message}"):
        read(release)
    listing = read(release, skip_bad=True)
    assert len(listing.pairs) == 4
    assert listing.skipped[0].where == "gigaspeech.json, key 'POD0000000094_S0000002'"
    assert "POD0000000094" not in listing.skipped[0].reason


def test_a_key_of_no_known_corpus_is_an_error(tmp_path: Path):
    path = write(tmp_path, json.dumps({"LJSpeech_LJ010-0227": {"labels": LABELS, "llama-instruction": "A man"}}))
    with pytest.raises(ManifestError, match="key 'LJSpeech_LJ010-0227': expected a key that ends with the name of a"):
        list(speechcraft.read(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows"),
        (b"{}", "no rows"),
        (b'{"POD0000000001_S0000001": {"labels": ', "after the beginning: not JSON"),
        (b'{"POD0000000001_S0000001": {"labels": "\xe9t\xe9"}}', "line 1: not UTF-8 text"),
        (b"POD0000000001_S0000001\tmale", "neither a list of objects nor an object of objects"),
        (b'{"POD0000000001_S0000001": "male"}', "key 'POD0000000001_S0000001': str; expected an object of columns"),
        (b'{"POD0000000001_S0000001": {"text": "A man"}}', "no column 'labels'; the columns are key, text"),
    ],
)
def test_bad_files_are_errors(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "annotations.json"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message) as raised:
        list(speechcraft.read(path, skip_bad=True))
    assert str(raised.value).startswith(f"{path}: ")


def test_an_absent_file_and_a_folder_without_any_are_errors(tmp_path: Path):
    with pytest.raises(ManifestError, match="no JSON file; expected annotations of SpeechCraft"):
        list(speechcraft.read(tmp_path))
    with pytest.raises(ManifestError, match=r"absent\.json: no such table"):
        list(speechcraft.read(tmp_path / "absent.json"))


def test_a_clip_in_two_files_or_twice_in_one_is_found_by_its_identifier(release: Release):
    (release.root / "copy.json").write_bytes((release.root / "libritts.json").read_bytes())
    ids = [pair.pair_id for pair in read(release).pairs]
    assert len(ids) == 6
    assert len(set(ids)) == 4


def test_a_large_file_is_not_held(tmp_path: Path):
    entry = json.dumps({"labels": LABELS, "llama-instruction": "A man speaks. " * 20})
    entries = ", ".join(f'"POD{place:010d}_S0000001": {entry}' for place in range(4_000))
    path = write(tmp_path, f"{{{entries}}}")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_table(path, ("labels",))) == 4_000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 5
    finally:
        tracemalloc.stop()
