import math
import statistics
from operator import mul

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raclap.errors import RaClapError
from raclap.retrieval.metrics import CEILINGS, METRICS, EmbeddingError, rank_pairs, rank_scores, summarise
from raclap.retrieval.relevance import DIRECTIONS, StyleRelevance

PITCHES, SPEEDS, SEXES = ("low", "middle", "high"), ("slow", "fast"), ("f", "m")


def random_relevance(N: int, seed: int, everything: bool = False) -> StyleRelevance:
    rng = np.random.default_rng(seed)
    rows = [{"pitch": rng.choice(PITCHES), "speed": rng.choice(SPEEDS), "sex": rng.choice(SEXES)} for _ in range(N)]
    names = [[name for name in row if rng.random() < 0.7] for row in rows]
    keys = [rng.choice(["x", "y", None]) for _ in range(N)]
    if everything:
        names = [list(row) for row in rows]
    return StyleRelevance.from_rows(rows, names, keys)


def random_embeds(N: int, D: int, seed: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(N, D, generator=generator)
    text = audio + 2 * torch.randn(N, D, generator=generator)
    if kind == "ties":
        return (2 * audio).round() / 8, (2 * text).round() / 8
    if kind == "duplicates":
        text = text[torch.randint(N // 4 + 1, (N,), generator=generator)]
    return F.normalize(audio, dim=1), F.normalize(text, dim=1)


def naive(scores: list[list[float]], share: list[list[float]]) -> list[dict[str, float]]:
    """Per-query values straight from the definitions: one sort a query, the worse first among equals."""
    values = []
    for query, (row, gains) in enumerate(zip(scores, share, strict=True)):
        others = [score for item, score in enumerate(row) if item != query]
        rank = 1 + sum(score >= row[query] for score in others)
        order = sorted(range(len(row)), key=lambda item: (-row[item], gains[item]))
        relevant = [gains[item] == 1 for item in order]
        precisions = [sum(relevant[: k + 1]) / (k + 1) for k in range(min(10, len(row))) if relevant[k]]
        discounted = [gains[item] / math.log2(place + 2) for place, item in enumerate(order[:10])]
        best = [gain / math.log2(p + 2) for p, gain in enumerate(sorted(gains, reverse=True)[:10])]
        values.append(
            {
                "rank": rank,
                "style_rank": 1 + relevant.index(True),
                "style_AP": sum(precisions) / min(sum(relevant), 10),
                "nDCG": sum(discounted) / sum(best),
            }
        )
    return values


def reference(audio: torch.Tensor, text: torch.Tensor, relevance: StyleRelevance):
    rows = torch.arange(len(audio))
    share = relevance.share(rows, rows).double()
    # Equal embeddings must have equal scores here too: each score is a sum of its own.
    scores = torch.tensor([[sum(map(mul, a, t)) for t in text.tolist()] for a in audio.tolist()])
    return {
        "audio_to_text": naive(scores.tolist(), share.tolist()),
        "text_to_audio": naive(scores.T.tolist(), share.T.tolist()),
    }


def as_reference(scores) -> list[dict[str, float]]:
    columns = (scores.instance_rank, scores.style_rank, scores.style_average_precision, scores.normalised_gain)
    names = ("rank", "style_rank", "style_AP", "nDCG")
    return [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("kind", ["ties", "duplicates", "plain"])
@pytest.mark.parametrize(("N", "D"), [(1, 4), (2, 3), (7, 3), (11, 2), (83, 4)])
def test_tiles_agree_with_the_definitions(N, D, kind):
    audio, text = random_embeds(N, D, N + D, kind)
    relevance = random_relevance(N, N)
    scores, expected = rank_pairs(audio, text, relevance, tile=16), reference(audio, text, relevance)
    for direction in DIRECTIONS:
        for found, wanted in zip(as_reference(scores[direction]), expected[direction], strict=True):
            assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_embeddings_that_carry_a_gradient_are_ranked_by_any_number_of_threads(threads):
    audio, text = random_embeds(80, 5, 2, "ties")
    relevance, former = random_relevance(80, 2), torch.get_num_threads()
    plain = rank_pairs(audio, text, relevance)
    torch.set_num_threads(threads)
    try:
        scores = rank_pairs(audio.requires_grad_(), text.requires_grad_(), relevance, tile=9)
    finally:
        torch.set_num_threads(former)
    for direction in DIRECTIONS:
        assert as_reference(scores[direction]) == as_reference(plain[direction])


@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
def test_tile_size_changes_nothing(tile):
    audio, text = random_embeds(90, 5, 0, "ties")
    relevance = random_relevance(90, 0)
    whole, tiled = rank_pairs(audio, text, relevance, tile=90), rank_pairs(audio, text, relevance, tile=tile)
    for direction in DIRECTIONS:
        assert as_reference(tiled[direction]) == as_reference(whole[direction])


def test_swapping_the_modalities_swaps_the_directions():
    audio, text = random_embeds(60, 6, 3, "ties")
    relevance = random_relevance(60, 3, everything=True)
    there, back = rank_pairs(audio, text, relevance), rank_pairs(text, audio, relevance)
    assert as_reference(there.audio_to_text) == as_reference(back.text_to_audio)
    assert as_reference(there.text_to_audio) == as_reference(back.audio_to_text)


def test_a_perfect_model_has_everything():
    N = 40
    summary = summarise(rank_pairs(torch.eye(N), torch.eye(N), StyleRelevance.from_rows([{}] * N, [None] * N)))
    for metrics in summary.values():
        assert metrics.pop("median_rank") == 1
        assert metrics == pytest.approx(dict.fromkeys(metrics, 100.0))
    assert set(metrics) == set(METRICS) - {"median_rank"}


@pytest.mark.parametrize(("N", "D"), [(33, 7), (100, 512), (1023, 64)])
def test_a_collapsed_model_has_nothing(N, D):
    one = F.normalize(torch.randn(1, D, generator=torch.Generator().manual_seed(0)), dim=1)
    embeds = one.expand(N, D).contiguous()
    keys = [str(row % 3) for row in range(N)]
    summary = summarise(rank_pairs(embeds, embeds.clone(), StyleRelevance.from_rows([{}] * N, [None] * N, keys)))
    for metrics in summary.values():
        assert metrics.pop("median_rank") == N
        assert metrics == dict.fromkeys(metrics, 0.0)


def test_only_the_captions_collapsed():
    """Every caption alike: a clip finds all at once; a caption finds clips in one and the same order."""
    N = 50
    audio, _ = random_embeds(N, 16, 0, "plain")
    text = audio[:1].expand(N, 16)
    scores = rank_pairs(audio, text, random_relevance(N, 1))
    assert (scores.audio_to_text.instance_rank == N).all()
    assert sorted(scores.text_to_audio.instance_rank) == list(range(1, N + 1))


def test_a_reversed_model_has_its_pair_last():
    N = 30
    scores = rank_pairs(torch.eye(N), -torch.eye(N), StyleRelevance.from_rows([{}] * N, [None] * N))
    assert (scores.audio_to_text.instance_rank == N).all()
    assert (scores.text_to_audio.style_rank == N).all()
    assert not scores.audio_to_text.normalised_gain.any()


def test_clips_with_one_caption_still_have_a_pair_each():
    text = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    scores = rank_pairs(text, text, StyleRelevance.from_rows([{}] * 4, [None] * 4, ["a", "a", "a", "b"]))
    for direction in DIRECTIONS:
        assert scores[direction].instance_rank.tolist() == [3, 3, 3, 1]
        assert scores[direction].style_rank.tolist() == [1, 1, 1, 1]


def test_by_hand():
    """Clip 0 scores the captions 0.6, 0.8, 0.6, 0.1; its own ties with caption 2, of which half holds."""
    audio = torch.tensor([[0.6, 0.8, 0.6, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    rows = [
        {"pitch": "high", "speed": "fast"},
        {"pitch": "high", "speed": "fast"},
        {"pitch": "high", "speed": "slow"},
        {"pitch": "low", "speed": "slow"},
    ]
    names = [("pitch", "speed"), ("pitch",), ("pitch", "speed"), ("pitch", "speed")]
    scores = rank_pairs(audio, torch.eye(4), StyleRelevance.from_rows(rows, names)).audio_to_text
    assert scores.instance_rank[0] == 3
    assert scores.style_rank[0] == 1
    assert scores.style_average_precision[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    gained = 1 + 0.5 / math.log2(3) + 1 / 2
    ideal = 1 + 1 / math.log2(3) + 0.5 / 2
    assert scores.normalised_gain[0] == pytest.approx(gained / ideal)


def test_summary_is_made_of_the_values_of_queries():
    audio, text = random_embeds(70, 4, 5, "plain")
    scores = rank_pairs(audio, text, random_relevance(70, 5))
    summary = summarise(scores, ["R@1", "R@25", "mAP@10", "median_rank", "style_R@3"])["text_to_audio"]
    ranks = scores.text_to_audio.instance_rank.tolist()
    assert summary["R@1"] == pytest.approx(100 * ranks.count(1) / 70)
    assert summary["R@25"] == pytest.approx(100 * sum(rank <= 25 for rank in ranks) / 70)
    assert summary["mAP@10"] == pytest.approx(100 * sum(1 / rank for rank in ranks if rank <= 10) / 70)
    assert summary["median_rank"] == statistics.median(ranks)
    assert summary["style_R@3"] == pytest.approx(100 * (scores.text_to_audio.style_rank <= 3).mean())


def test_the_ceiling_is_reported_where_captions_name_everything():
    rows = [{"sex": "f"}] * 20 + [{"sex": "m"}] * 5
    scores = rank_pairs(torch.eye(25), torch.eye(25), StyleRelevance.from_rows(rows, [("sex",)] * 25))
    metrics = summarise(scores)["audio_to_text"]
    assert tuple(metrics) == METRICS + CEILINGS
    assert metrics["style_ceiling_R@1"] == pytest.approx(100 * (20 / 20 + 5 / 5) / 25)
    assert metrics["style_ceiling_R@10"] == pytest.approx(100 * (20 * 10 / 20 + 5) / 25)


def test_a_perfect_judge_of_style_reaches_the_ceiling_on_average():
    rows, order = [{"pitch": pitch} for pitch in "aaaabbc"], torch.Generator().manual_seed(0)
    relevance = StyleRelevance.from_rows(rows, [("pitch",)] * 7)
    style = F.one_hot(torch.tensor([0, 0, 0, 0, 1, 1, 2])).float()
    found = []
    for _ in range(400):
        noise = 1e-3 * torch.rand(7, 3, generator=order)
        found.append(summarise(rank_pairs(style, style + noise, relevance))["audio_to_text"])
    assert np.mean([each["R@1"] for each in found]) == pytest.approx(found[0]["style_ceiling_R@1"], abs=3)
    assert found[0]["style_R@10"] == 100


def test_half_precision_embeddings_are_ranked_in_float32():
    audio, text = random_embeds(50, 8, 1, "plain")
    relevance = random_relevance(50, 1)
    half = rank_pairs(audio.bfloat16(), text.bfloat16(), relevance)
    same = rank_pairs(audio.bfloat16().float(), text.bfloat16().float(), relevance)
    assert as_reference(half.audio_to_text) == as_reference(same.audio_to_text)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_what_cannot_be_ranked_is_named(bad):
    audio = torch.eye(5)
    audio[3, 1] = bad
    relevance = StyleRelevance.from_rows([{}] * 5, [None] * 5)
    with pytest.raises(RaClapError, match="audio embedding of row 3 is not finite"):
        rank_pairs(audio, torch.eye(5), relevance)
    with pytest.raises(RaClapError, match="text embedding of row 3 is not finite"):
        rank_pairs(torch.eye(5), audio, relevance)


@pytest.mark.parametrize(("a", "t", "r"), [(0, 0, 0), (3, 4, 3), (4, 4, 3)])
def test_sides_of_different_length_are_refused(a, t, r):
    with pytest.raises(RaClapError, match="equally many"):
        rank_pairs(torch.zeros(a, 2), torch.zeros(t, 2), StyleRelevance.from_rows([{}] * r, [None] * r))


def test_unknown_metrics_are_refused():
    scores = rank_pairs(torch.eye(3), torch.eye(3), StyleRelevance.from_rows([{}] * 3, [None] * 3))
    for metric in ("R@0", "mAP@5", "recall", "style_ceiling_R@1"):
        with pytest.raises(ValueError, match=r"no metric|no style ceiling"):
            scores.audio_to_text.values(metric)


def test_settings_of_torch_are_given_back():
    former, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("medium")
    try:
        rank_pairs(torch.eye(3), torch.eye(3), StyleRelevance.from_rows([{}] * 3, [None] * 3))
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_num_threads() == threads
    finally:
        torch.set_float32_matmul_precision(former)


@pytest.mark.parametrize("C", [4, 10, 11, 40])
def test_given_scores_are_ranked_by_the_definitions(C):
    Q = 25
    generator = torch.Generator().manual_seed(C)
    scores = torch.randint(0, 6, (Q, C), generator=generator).double()
    relevant = torch.rand(Q, C, generator=generator) < 0.2
    relevant[torch.arange(Q), torch.randint(C, (Q,), generator=generator)] = True
    found = rank_scores(scores, relevant)
    # The oracle's own ranks are those of a paired item; what is relevant to the query is all that is asked here.
    expected = [naive([row], [gains])[0] for row, gains in zip(scores.tolist(), relevant.int().tolist(), strict=True)]
    assert found.values("median_rank").tolist() == [each["style_rank"] for each in expected]
    assert found.values("style_mAP@10") == pytest.approx([100 * each["style_AP"] for each in expected])
    assert found.values("nDCG@10") == pytest.approx([100 * each["nDCG"] for each in expected])


@pytest.mark.parametrize(
    ("scores", "relevant", "message"),
    [
        ([[1.0, 2.0]], [[True]], r"similarities of shape \(1, 2\), relevance of \(1, 1\)"),
        ([[1.0, 2.0], [math.nan, 1.0]], [[True, False]] * 2, "query 1 has a similarity that is not finite"),
        ([[1.0, 2.0]], [[False, False]], "query 0 has no relevant candidate"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores, relevant, message):
    with pytest.raises(EmbeddingError, match=message):
        rank_scores(torch.tensor(scores), torch.tensor(relevant))
