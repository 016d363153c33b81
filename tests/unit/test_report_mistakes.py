"""The worst queries, on embeddings whose ranks are known by hand."""

import pytest
import torch
import torch.nn.functional as F

from conftest import RATE, make_corpus
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest
from raclap.report.measured_corpus import MeasuredCorpus
from raclap.report.mistakes import worst_queries
from raclap.retrieval.embed import PairEmbeddings
from raclap.retrieval.evaluation import Evaluation
from raclap.retrieval.metrics import rank_pairs
from raclap.retrieval.relevance import StyleRelevance


def measured(path, audio, text):
    rows = inspect_audio(read_manifest(path), RATE, check="none")
    embeds = PairEmbeddings(F.normalize(audio, dim=-1), F.normalize(text, dim=-1))
    relevance = StyleRelevance.from_manifest(rows.manifest)
    scores = rank_pairs(embeds.audio, embeds.text, relevance)
    return MeasuredCorpus("tones", rows, embeds, relevance, Evaluation("m", "tones", scores), ())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("mistakes"), "tones", {"validation": 6})  # six styles, a caption each


def test_a_perfect_model_makes_no_mistake(path):
    corpus = measured(path, torch.eye(6), torch.eye(6))
    assert worst_queries(corpus, "audio_to_text", 4) == []


def test_worst_first_and_what_stands_above(path):
    audio = torch.eye(6)
    audio[0] = torch.tensor([0.1, 0.9, 0.8, 0.7, 0.6, 0.5])  # its own caption is last
    audio[3] = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.6, 0.0])  # its own is second
    corpus = measured(path, audio, torch.eye(6))
    worst, second = worst_queries(corpus, "audio_to_text", 4)
    assert (worst.row, worst.rank) == (0, 6)
    assert [match.caption for match in worst.found] == [1, 2, 3]
    assert {match.clip for match in worst.found} == {0}
    assert worst.right.cosine < worst.found[2].cosine < worst.found[0].cosine
    assert (second.row, second.rank, [match.caption for match in second.found]) == (3, 2, [4])
    assert [one.row for one in worst_queries(corpus, "audio_to_text", 1)] == [0]


def test_captions_ask_for_clips(path):
    text = torch.eye(6)
    text[2] = torch.tensor([0.9, 0.0, 0.1, 0.0, 0.0, 0.8])
    (worst,) = worst_queries(measured(path, torch.eye(6), text), "text_to_audio", 4)
    assert (worst.row, worst.rank, [match.clip for match in worst.found]) == (2, 3, [0, 5])
    assert {match.caption for match in worst.found} == {2}


def test_what_a_caption_says_is_held_against_the_clip(path):
    audio = torch.eye(6)
    audio[0] = torch.tensor([0.1, 0.9, 0.0, 0.0, 0.0, 0.0])
    corpus = measured(path, audio, torch.eye(6))
    (worst,) = worst_queries(corpus, "audio_to_text", 1)
    clip, other = corpus.rows.manifest[0].attributes, corpus.rows.manifest[1].attributes
    values = {value.name: value for value in worst.found[0].values}
    assert set(values) == {"pitch", "volume"}
    for name, value in values.items():
        assert (value.wanted, value.held, value.holds) == (other[name], clip[name], other[name] == clip[name])
    assert not values["pitch"].holds
    assert all(value.holds for value in worst.right.values)


def test_the_same_words_are_shown_once(tmp_path):
    path = make_corpus(tmp_path, "tones", {"validation": 12})  # each caption twice
    corpus = measured(path, torch.randn(12, 6), torch.randn(12, 6))
    for direction in ("audio_to_text", "text_to_audio"):
        mistakes = worst_queries(corpus, direction, 12)
        assert [one.rank for one in mistakes] == sorted((one.rank for one in mistakes), reverse=True)
        texts = [[match.text for match in (*one.found, one.right)] for one in mistakes]
        asked = [one.right.text for one in mistakes]
        if direction == "audio_to_text":
            assert all(len(set(own)) == len(own) for own in texts)
        else:
            assert len(set(asked)) == len(asked)
