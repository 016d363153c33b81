"""Choosing among clips: which of N candidates sounds most like a caption says, or most like a reference clip.

    reranker = Reranker(*load_model_folder("runs/mine/export"))
    rankings, bad = reranker.rank([Request(clips=("take1.wav", "take2.wav"), text="a woman speaking calmly")])
    rankings[0].best.clip

Shapes: N clips, D joint size.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.audio import decode, read_header
from raclap.errors import AudioError, RaClapError
from raclap.retrieval.embed import batches_by_length, embed_text, embed_waveforms

REFERENCE_WEIGHT = 0.5


class RerankError(RaClapError):
    """Candidates cannot be ranked."""


@dataclass(frozen=True)
class Request:
    """Clips to choose from, and what the chosen one is to sound like.

    Attributes:
        clips: N candidates; one is enough.
        text: the caption; None: the reference alone decides.
        reference: a clip that sounds as wanted; None: the caption alone decides.
        name: what the user calls it, where captions may be used twice.
    """

    clips: tuple[Path | str, ...]
    text: str | None = None
    reference: Path | str | None = None
    name: str | None = None


@dataclass(frozen=True)
class RankedClip:
    """A candidate and its place.

    Attributes:
        rank: from 1.
        clip: as the request names it.
        score: what decides, see `rank_candidates`.
        cosine: with the caption; None without one.
        reference_cosine: with the reference clip; None without one.
        probability: that the caption fits, at even odds; None without a caption, or if the model is not calibrated.
        percentile: percentage of random pairs of clip and caption with a lower cosine; None as `probability`.
    """

    rank: int
    clip: str
    score: float
    cosine: float | None = None
    reference_cosine: float | None = None
    probability: float | None = None
    percentile: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What is known, by the names above; numbers to six digits after the point."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in known.items()}


@dataclass(frozen=True)
class Ranking:
    """The candidates of one request, best first.

    Attributes:
        request: what was asked.
        clips: ranked candidates; none where all of them are bad and bad ones are left out.
    """

    request: Request
    clips: tuple[RankedClip, ...]

    @property
    def best(self) -> RankedClip | None:
        """The first; None where there is no candidate."""
        return self.clips[0] if self.clips else None

    def to_json(self, top: int | None = None, root: Path | None = None) -> dict[str, Any]:
        """`{id, prompt, reference, best, ranking: [{rank, clip, score, ...}]}`; what was not asked with is left out.

        Args:
            top: keep so many of the ranking; None: all.
            root: name clips by their paths below this folder; None: as the request names them.
        """

        def name_of(clip: Path | str) -> str:
            return str(clip) if root is None else Path(clip).relative_to(root).as_posix()

        asked = {
            "id": self.request.name,
            "prompt": self.request.text,
            "reference": None if self.request.reference is None else name_of(self.request.reference),
        }
        best = None if self.best is None else name_of(self.best.clip)
        known = {name: value for name, value in asked.items() if value is not None}
        ranking = [{**clip.to_json(), "clip": name_of(clip.clip)} for clip in self.clips[:top]]
        return {**known, "best": best, "ranking": ranking}


@dataclass(frozen=True, eq=False)
class CandidateScores:
    """What decides among N clips.

    Attributes:
        score: (N,) see `rank_candidates`.
        cosine: (N,) with the caption; None without one.
        reference_cosine: (N,) with the reference; None without one.
        order: (N,) int64, clips from best to worst; of equal ones the earlier comes first.
    """

    score: Tensor
    cosine: Tensor | None
    reference_cosine: Tensor | None
    order: Tensor


def rank_candidates(
    audio_embeds: Tensor,
    text_embed: Tensor | None = None,
    reference_embed: Tensor | None = None,
    reference_weight: float = REFERENCE_WEIGHT,
) -> CandidateScores:
    """Ranks clips by a caption, by a reference clip, or by both: score = (1 - w) cos(caption) + w cos(reference).

    Args:
        audio_embeds: (N, D) unit vectors, N at least 1.
        text_embed: (D,) unit vector; None: the score is the cosine with the reference.
        reference_embed: (D,) unit vector of a clip; None: the score is the cosine with the caption.
        reference_weight: w in [0, 1]; read where both are given.

    Raises:
        RerankError: there is nothing to rank or to rank by, the weight is out of range, or an embedding is not finite.

    Example:
        >>> clips = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> rank_candidates(clips, text_embed=torch.tensor([0.6, 0.8])).order
        tensor([1, 0])
        >>> rank_candidates(clips, torch.tensor([0.6, 0.8]), reference_embed=clips[0]).score
        tensor([0.8000, 0.4000])
    """
    if len(audio_embeds) == 0:
        raise RerankError("no clips to rank")
    check_weight(reference_weight)
    if text_embed is None and reference_embed is None:
        raise RerankError("nothing to rank by: give a caption, a reference clip, or both")
    cosine = None if text_embed is None else audio_embeds @ text_embed
    reference_cosine = None if reference_embed is None else audio_embeds @ reference_embed
    if cosine is None or reference_cosine is None:
        score = cosine if reference_cosine is None else reference_cosine
    else:
        score = (1 - reference_weight) * cosine + reference_weight * reference_cosine
    if not torch.isfinite(score).all():
        raise RerankError("an embedding is not finite: the weights of the model are damaged")
    return CandidateScores(score, cosine, reference_cosine, torch.argsort(score, descending=True, stable=True))


def check_weight(reference_weight: float) -> None:
    """Raises RerankError unless the weight of the reference lies between 0 and 1."""
    if not 0 <= reference_weight <= 1:
        raise RerankError(f"reference weight {reference_weight}; expected a number from 0 (caption) to 1 (reference)")


class Reranker:
    """Embeds candidates and captions, each once, and ranks them.

    Args:
        model: on the device to use; put into eval mode.
        processor: the one it was trained with.
    """

    def __init__(self, model: RaClapModel, processor: RaClapProcessor):
        self.calibration = model.calibration
        self._model = model.eval()
        self._processor = processor

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeds captions: (N, D) float32 unit vectors on the CPU.

        Raises:
            RerankError: a caption is empty.
        """
        for text in texts:
            if not text.strip():
                raise RerankError("a caption is empty; say how the wanted speech sounds")
        return embed_text(self._model, self._processor, texts)

    def embed_waveforms(self, waveforms: Sequence[np.ndarray], sampling_rate: int) -> Tensor:
        """Embeds a batch of clips at hand: (N, D) float32 unit vectors on the CPU.

        Args:
            waveforms: (S,) samples each.
            sampling_rate: Hz, of all of them.

        Raises:
            ValueError: a clip has no sound in it, or is longer than the tower reads.
        """
        prepared = [self._processor.feature_extractor.load(waveform, sampling_rate) for waveform in waveforms]
        return torch.from_numpy(embed_waveforms(self._model, self._processor, prepared))

    def embed_files(
        self, paths: Iterable[Path | str], skip_bad: bool = False, progress: bool = True
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Embeds recordings, each once, those of like length together.

        Args:
            paths: of recordings; the same one may be named several times.
            skip_bad: list bad recordings instead of stopping at the first.
            progress: show a progress bar.

        Returns:
            (D,) float32 unit vectors on the CPU by path, in the order and the words of `paths`; and reasons by path of
            bad ones.

        Raises:
            AudioError: a recording is missing, unreadable, empty, silent, too short or too long, and `skip_bad` is
                false; the message names it.
        """
        distinct = list(dict.fromkeys(map(str, paths)))
        embeds: dict[str, Tensor] = {}
        bad: dict[str, str] = {}
        with ThreadPoolExecutor(max_workers=2) as pool, tqdm(
            total=len(distinct), desc="embedding clips", unit="clip", disable=not progress
        ) as bar:  # fmt: skip
            good, seconds = self._kept(distinct, pool.map(_seconds, distinct), bad, skip_bad)
            bar.update(len(bad))
            for batch in batches_by_length(self._padded(np.array(seconds))):
                names = [good[row] for row in batch]
                kept, waveforms = self._kept(names, pool.map(self._waveform, names), bad, skip_bad)
                if kept:
                    vectors = torch.from_numpy(embed_waveforms(self._model, self._processor, waveforms))
                    embeds.update(zip(kept, vectors, strict=True))
                bar.update(len(batch))
        return {path: embeds[path] for path in distinct if path in embeds}, bad

    def rank(
        self,
        requests: Sequence[Request],
        reference_weight: float = REFERENCE_WEIGHT,
        skip_bad: bool = False,
        progress: bool = True,
    ) -> tuple[list[Ranking], dict[str, str]]:
        """Ranks the candidates of every request.

        Args:
            requests: what to choose from, and by what.
            reference_weight: see `rank_candidates`.
            skip_bad: leave bad recordings out instead of stopping at the first; with a bad reference nothing is left.
            progress: show a progress bar.

        Returns:
            Rankings in the order of the requests, and reasons by path of bad recordings.

        Raises:
            RerankError: a request has no clips, or nothing to rank by; a caption is empty; the weight is out of range.
            AudioError: see `embed_files`.
        """
        check_weight(reference_weight)
        for request in requests:
            if not request.clips:
                raise RerankError(f"no clips to rank for {request.name or request.text!r}")
            if request.text is None and request.reference is None:
                raise RerankError("nothing to rank by: give a caption, a reference clip, or both")
        texts = list(dict.fromkeys(request.text for request in requests if request.text is not None))
        captions = dict(zip(texts, self.embed_texts(texts), strict=True)) if texts else {}
        references = [request.reference for request in requests if request.reference is not None]
        named = [*(clip for request in requests for clip in request.clips), *references]
        clips, bad = self.embed_files(named, skip_bad, progress)
        return [self._ranking(request, captions, clips, reference_weight) for request in requests], bad

    def _ranking(
        self, request: Request, captions: Mapping[str, Tensor], clips: Mapping[str, Tensor], weight: float
    ) -> Ranking:
        names = [str(clip) for clip in request.clips if str(clip) in clips]
        reference = None if request.reference is None else clips.get(str(request.reference))
        if not names or (reference is None and request.reference is not None):
            return Ranking(request, ())
        caption = None if request.text is None else captions[request.text]
        scores = rank_candidates(torch.stack([clips[name] for name in names]), caption, reference, weight)
        return Ranking(request, self._ranked(names, scores))

    def _ranked(self, names: Sequence[str], scores: CandidateScores) -> tuple[RankedClip, ...]:
        columns = {"score": scores.score, "cosine": scores.cosine, "reference_cosine": scores.reference_cosine}
        if self.calibration is not None and scores.cosine is not None:
            columns["probability"] = self.calibration.probability(scores.cosine)
            columns["percentile"] = self.calibration.percentile(scores.cosine)
        values = {name: column.tolist() for name, column in columns.items() if column is not None}
        return tuple(
            RankedClip(rank, names[place], **{name: column[place] for name, column in values.items()})
            for rank, place in enumerate(scores.order.tolist(), start=1)
        )

    def _waveform(self, path: str) -> np.ndarray | AudioError:
        """The clip as the tower reads it, or what is wrong with it."""
        extractor = self._processor.feature_extractor
        try:
            waveform = extractor.trim(decode(Path(path), extractor.sampling_rate))
        except AudioError as error:
            return error
        seconds, longest = len(waveform) / extractor.sampling_rate, extractor.longest_seconds
        if longest is not None and seconds > longest:
            return AudioError(f"{path}: {seconds:.2f} s, but the speech tower reads at most {longest:.2f} s")
        return waveform

    def _padded(self, seconds: np.ndarray) -> np.ndarray:
        """Lengths as they are computed with: a tower of a fixed window reads it whole, however short a clip."""
        window = self._processor.feature_extractor.longest_seconds
        return seconds if window is None else np.full_like(seconds, window)

    @staticmethod
    def _kept(
        paths: Sequence[str], found: Iterable[Any], bad: dict[str, str], skip_bad: bool
    ) -> tuple[list[str], list[Any]]:
        """Paths and what was found of them; of bad ones the reason is noted, or raised."""
        kept, values = [], []
        for path, value in zip(paths, found, strict=True):
            if not isinstance(value, AudioError):
                kept.append(path)
                values.append(value)
            elif skip_bad:
                bad[path] = str(value).removeprefix(f"{path}: ")
            else:
                raise value
        return kept, values


def _seconds(path: str) -> float | AudioError:
    try:
        return read_header(Path(path))
    except AudioError as error:
        return error
