"""The folders under metrics/ as modules of `evaluate`, without a network."""

import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raclap.retrieval.metrics import EmbeddingError, rank_pairs, summarise
from raclap.retrieval.ordinality import OrderError, rank_order
from raclap.retrieval.relevance import StyleRelevance

FOLDER = Path(__file__).parents[2] / "metrics"
N = 30


@pytest.fixture
def load(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return lambda name: evaluate.load(str(FOLDER / name), cache_dir=str(tmp_path))


@pytest.fixture(scope="module")
def embeds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    audio = (2 * torch.randn(N, 6, generator=generator)).round() / 8  # products are exact, and some tie
    text = (audio + torch.randn(N, 6, generator=generator)).mul(8).round() / 8
    return audio, text


def test_retrieval_by_hand(load):
    # Ranks of the right candidates: 1; 2 and 4 of four; 3 by a tie of all.
    found = load("retrieval").compute(
        predictions=[[0.9, 0.1, 0.2, 0.3], [0.8, 0.6, 0.7, 0.9], [0.5, 0.5, 0.5, 0.5]],
        references=[[0], [0, 1], [1, 2]],
    )
    assert found["R@1"] == pytest.approx(100 / 3)
    assert found["R@5"] == found["R@10"] == 100
    assert found["median_rank"] == 2
    assert found["mAP@10"] == pytest.approx(100 * (1 + (1 / 2 + 2 / 4) / 2 + (1 / 3 + 2 / 4) / 2) / 3)
    gain = 1 / np.log2(np.arange(2, 6))
    ideal = gain[0] + gain[1]
    assert found["nDCG@10"] == pytest.approx(100 * (1 + (gain[1] + gain[3]) / ideal + (gain[2] + gain[3]) / ideal) / 3)


def test_retrieval_of_pairs_is_that_of_the_package(load, embeds):
    audio, text = embeds
    relevance = StyleRelevance.from_rows([{}] * N, [None] * N, [str(row) for row in range(N)])
    expected = summarise(rank_pairs(audio, text, relevance))["audio_to_text"]
    found = load("retrieval").compute(predictions=audio @ text.T, references=range(N))
    assert set(found) == {"R@1", "R@5", "R@10", "mAP@10", "nDCG@10", "median_rank"}
    assert found == pytest.approx({name: expected[name] for name in found})


def test_retrieval_of_sets_is_that_of_the_package(load, embeds):
    audio, text = embeds
    styles = [str(row % 7) for row in range(N)]
    expected = summarise(rank_pairs(audio, text, StyleRelevance.from_rows([{}] * N, [None] * N, styles)))
    sets = [[row for row in range(N) if styles[row] == style] for style in styles]
    found = load("retrieval").compute(predictions=text @ audio.T, references=sets)
    assert found["R@10"] == pytest.approx(expected["text_to_audio"]["style_R@10"])
    assert found["mAP@10"] == pytest.approx(expected["text_to_audio"]["style_mAP@10"])
    assert found["nDCG@10"] == pytest.approx(expected["text_to_audio"]["nDCG@10"])


@pytest.mark.parametrize(
    ("rows", "right", "message"),
    [
        ([[0.9, 0.1], [0.2]], [0, 1], "query 1 has 1 similarities, the first 2"),
        ([[0.9, 0.1]], [2], "query 0: there is no candidate 2; they go from 0 to 1"),
        ([[0.9, 0.1]], [-1], "there is no candidate -1"),
        ([[0.9, float("nan")]], [0], "query 0 has a similarity that is not finite"),
        ([[0.9, 0.1], [0.1, 0.9]], [[1], []], "query 1 has no relevant candidate"),
    ],
)
def test_retrieval_names_a_mistake(load, rows, right, message):
    with pytest.raises(EmbeddingError, match=message):
        load("retrieval").compute(predictions=rows, references=right)


def test_ordinality_by_hand(load):
    rows = [[1.0, 0.8, 0.1], [0.7, 1.0, 0.2], [0.6, 0.3, 1.0]]
    found = load("ordinality").compute(predictions=rows, references=[1.0, 2.0, 4.0])
    assert found == {"tau": pytest.approx((1 + 1 + 1 / 3) / 3), "queries": 3, "left_out": 0}
    found = load("ordinality").compute(
        predictions=rows[:2], references=[None, 9.0], candidate_values=[1.0, float("nan"), 2.0]
    )
    assert found == {"tau": -1.0, "queries": 1, "left_out": 1}


def test_ordinality_is_that_of_the_package(load, embeds):
    audio, text = (F.normalize(each, dim=1) for each in embeds)
    values = np.random.default_rng(0).integers(1, 8, N).astype(float)  # as many corpora have them
    expected = rank_order(audio, text, {"valence": values}).summary()["text_to_audio"]["tau_valence"]
    found = load("ordinality").compute(predictions=text @ audio.T, references=values)
    assert found == {"tau": pytest.approx(expected), "queries": N, "left_out": 0}


def test_ordinality_refuses_constant_labels(load):
    with pytest.raises(OrderError, match="no order to measure: rows with a value: 2, and all have 1"):
        load("ordinality").compute(predictions=[[1.0, 0.0], [0.0, 1.0]], references=[1.0, 1.0])


@pytest.mark.parametrize("name", ["retrieval", "ordinality"])
def test_the_example_of_the_description_runs(load, name, monkeypatch):
    import doctest

    monkeypatch.chdir(FOLDER.parent)
    example = doctest.DocTestParser().get_doctest(
        load(name).info.inputs_description, {"evaluate": evaluate}, name, name, 0
    )
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
