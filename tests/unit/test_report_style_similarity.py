"""Similarity of styles: the means of all cosines, as computed pair by pair."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raclap.report.style_similarity import style_similarity
from raclap.retrieval.embed import PairEmbeddings

KEYS = ["pitch=low|sex=male", "pitch=high|sex=male", "pitch=low|sex=female"] * 4 + [None, "pitch=high|sex=female"]


@pytest.fixture
def embeds():
    torch.manual_seed(0)
    return PairEmbeddings(*(F.normalize(torch.randn(len(KEYS), 6), dim=-1) for _ in range(2)))


def test_means_are_those_of_all_pairs_of_clips_and_captions(embeds):
    found = style_similarity(embeds, KEYS)
    cosines = (embeds.audio @ embeds.text.T).numpy()
    keys = ["|".join(f"{n}={v}" for n, v in zip(found.attributes, style, strict=True)) for style in found.styles]
    assert sorted(keys) == sorted(set(KEYS) - {None})
    for i, one in enumerate(keys):
        for j, other in enumerate(keys):
            block = cosines[np.ix_([key == one for key in KEYS], [key == other for key in KEYS])]
            assert found.cosines[i, j] == pytest.approx(block.mean(), abs=1e-6)
    assert found.counts == tuple(KEYS.count(key) for key in keys)


def test_the_commonest_styles_are_taken(embeds):
    found = style_similarity(embeds, KEYS, most=3)
    assert found.left_out == 1
    assert ("high", "female") not in found.styles


def test_equally_common_styles_are_drawn_by_seed():
    embeds = PairEmbeddings(*(F.normalize(torch.randn(40, 6), dim=-1) for _ in range(2)))
    keys = [f"style={number}" for number in range(40)]
    drawn = {seed: set(style_similarity(embeds, keys, most=10, seed=seed).styles) for seed in (0, 1)}
    assert drawn[0] != drawn[1]
    assert drawn[0] == set(style_similarity(embeds, keys, most=10, seed=0).styles)


def test_like_stands_beside_like():
    low, high = torch.eye(2)
    vectors = F.normalize(torch.stack([low, high, low + 0.1 * high, high + 0.1 * low]), dim=-1)
    found = style_similarity(PairEmbeddings(vectors, vectors), ["a", "b", "c", "d"])
    order = [style[0] for style in found.styles]
    assert abs(order.index("a") - order.index("c")) == abs(order.index("b") - order.index("d")) == 1
    assert found.attributes == ("style",)
    assert found.diagonal_wins == 1


def test_one_style_is_nothing_to_compare(embeds):
    assert style_similarity(embeds, ["pitch=low", *[None] * (len(KEYS) - 1)]) is None
