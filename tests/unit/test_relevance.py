from pathlib import Path

import pytest
import torch

from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.errors import ManifestError
from raclap.retrieval.relevance import Gains, StyleRelevance

ATTRIBUTES = [
    {"pitch": "high", "speed": "fast", "energy": "loud"},
    {"pitch": "high", "speed": "slow"},
    {"pitch": "low", "speed": "fast", "energy": "loud"},
    {},
]
NAMES = [("pitch", "speed"), ("pitch",), ("pitch", "speed", "energy"), None]
KEYS = ["a", "b", None, "b"]


def share_of_one(clip: int, caption: int) -> float:
    if not NAMES[caption]:
        if KEYS[caption] is None:
            return float(clip == caption)
        return float(KEYS[clip] == KEYS[caption])
    holding = [ATTRIBUTES[clip].get(name) == ATTRIBUTES[caption][name] for name in NAMES[caption]]
    return sum(holding) / len(holding)


def everything(relevance: StyleRelevance) -> torch.Tensor:
    rows = range(len(relevance))
    return relevance.share(list(rows), list(rows))


def test_share_is_the_part_of_what_the_caption_names():
    relevance = StyleRelevance.from_rows(ATTRIBUTES, NAMES, KEYS)
    expected = [[share_of_one(clip, caption) for caption in range(4)] for clip in range(4)]
    torch.testing.assert_close(everything(relevance), torch.tensor(expected))


def test_share_of_some_rows_in_any_order():
    relevance = StyleRelevance.from_rows(ATTRIBUTES, NAMES, KEYS)
    assert torch.equal(relevance.share([2, 0], [1, 3, 1]), everything(relevance)[[2, 0]][:, [1, 3, 1]])


@pytest.mark.parametrize("unknown", [None, ()])
def test_captions_that_name_nothing_are_judged_by_style_key(unknown):
    relevance = StyleRelevance.from_rows([{"sex": "f"}] * 4, [unknown] * 4, ["x", "y", "x", None])
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert everything(relevance).tolist() == expected
    assert not relevance.names_everything


def test_without_names_and_keys_each_row_is_relevant_to_itself():
    assert torch.equal(everything(StyleRelevance.from_rows([{}] * 3, [None] * 3)), torch.eye(3))


def test_an_unknown_value_does_not_hold():
    relevance = StyleRelevance.from_rows([{"sex": "f"}, {"age": "old"}], [("sex",), ("age",)])
    assert torch.equal(everything(relevance), torch.eye(2))


def test_names_everything_and_its_groups():
    rows = [{"sex": "f"}, {"sex": "m"}, {"sex": "f"}]
    whole = StyleRelevance.from_rows(rows, [("sex",)] * 3)
    assert whole.names_everything
    assert whole.group_sizes().tolist() == [2, 1, 2]
    assert not StyleRelevance.from_rows(rows, [("sex",), None, ("sex",)]).names_everything
    partly = [{"sex": "f", "age": "old"}, {"sex": "f"}]
    assert not StyleRelevance.from_rows(partly, [("sex",), ("sex",)]).names_everything


@pytest.mark.parametrize("table", [2**24, 0])
@pytest.mark.parametrize("direction", ["audio_to_text", "text_to_audio"])
def test_gains_are_the_shares_seen_from_one_direction(monkeypatch, direction, table):
    monkeypatch.setattr("raclap.retrieval.relevance._TABLE", table)
    relevance = StyleRelevance.from_rows(ATTRIBUTES * 5, NAMES * 5, KEYS * 5)
    gains, expected = Gains(relevance, direction), everything(relevance)
    expected = expected if direction == "audio_to_text" else expected.T
    rows = torch.tensor([3, 0, 19])
    assert torch.equal(gains.of(rows), expected[rows])
    assert torch.equal(gains.at(rows, torch.tensor([[1, 1], [2, 0], [4, 7]]))[1], expected[0, [2, 0]])
    assert torch.equal(gains.ideal(7), expected.sort(1, descending=True).values[:, :7])
    assert torch.equal(gains.relevant_counts, (expected == 1).sum(1))


def make_manifest(folder: Path, names: tuple[str, ...] | None):
    pairs = [
        Pair(
            pair_id=f"p{row}",
            audio=f"{row}.wav",
            captions=(Caption("first", names), Caption("second", ("pitch",))),
            corpus="tones",
            split="test",
            attributes={"pitch": "high", "speed": speed},
            style_key=speed,
        )
        for row, speed in enumerate(("fast", "slow"))
    ]
    write_manifest(folder / "m.parquet", pairs, folder)
    return read_manifest(folder / "m.parquet")


def test_a_manifest_is_judged_by_its_first_captions(tmp_path):
    assert torch.equal(everything(StyleRelevance.from_manifest(make_manifest(tmp_path, None))), torch.eye(2))
    both = StyleRelevance.from_manifest(make_manifest(tmp_path, ("pitch", "speed")))
    assert everything(both).tolist() == [[1, 0.5], [0.5, 1]]
    assert both.names_everything


def test_a_name_without_a_value_is_an_error_of_the_manifest(tmp_path):
    with pytest.raises(ManifestError, match=r"m\.parquet: row 0: the caption names 'age'"):
        StyleRelevance.from_manifest(make_manifest(tmp_path, ("age",)))
