"""What the page computes: how well descriptions fit a clip, and which clips of the gallery fit a description.

Shapes: N clips or descriptions, D joint size.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modeling_raclap.handler import BadRequestError
from raclap.errors import RaClapError
from raclap.model_folder import load_model_folder
from raclap.page.gallery import GalleryClip
from raclap.page.kept_embeddings import embed_kept
from raclap.page.uploads import decode_clip
from raclap.retrieval.embed import embed_waveforms
from raclap.retrieval.rerank import Reranker, rank_candidates

# The server calls from many threads. Each of them would get a pool of threads of its own from OpenMP, so all computing
# is done by one, which shares the cores out within an operation.
_computing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing")


@dataclass(frozen=True)
class Fit:
    """How well something fits.

    Attributes:
        cosine: of the two embeddings.
        probability: that a description fits a clip, at even odds; None: two clips are compared, or the model is not
            calibrated.
        percentile: percentage of random pairs of clip and description with a lower cosine; None as `probability`.
    """

    cosine: float
    probability: float | None = None
    percentile: float | None = None


@dataclass(frozen=True)
class DescriptionFit:
    """A description and how well it fits the clip."""

    description: str
    fit: Fit


@dataclass(frozen=True)
class Hit:
    """A clip that was found.

    Attributes:
        number: of the clip in the gallery, from 0.
        clip: what is known of it.
        fit: with what was searched for.
    """

    number: int
    clip: GalleryClip
    fit: Fit


class PageModel:
    """A model and the gallery as it hears it.

    Args:
        folder: of the exported model; it is checked before it is loaded.
        gallery: clips to search.
        kept_in: where embeddings of the gallery are kept.

    Attributes:
        bad: reasons by path of clips that the model cannot read; they are never found.

    Raises:
        ModelFolderError: the folder is not a whole model, or its code lies elsewhere.
        RaClapError: none of the clips can be read.
    """

    def __init__(self, folder: Path, gallery: Sequence[GalleryClip], kept_in: Path):
        model, processor = load_model_folder(folder)
        self._model, self._processor = model, processor
        self._reranker = Reranker(model, processor)
        paths = [clip.path for clip in gallery]
        embeds, self.bad = _computing.submit(embed_kept, self._reranker, folder, paths, kept_in).result()
        self._clips = [(number, clip) for number, clip in enumerate(gallery) if clip.path in embeds]
        if not self._clips:
            raise RaClapError(f"no clip of the gallery can be read; the first: {next(iter(self.bad.values()))}")
        self._embeds = torch.stack([embeds[clip.path] for _, clip in self._clips])

    def judge(self, clip: bytes, descriptions: Sequence[str]) -> list[DescriptionFit]:
        """How well descriptions fit a clip, best first.

        Args:
            clip: an encoded recording that `read_clip` has checked.
            descriptions: none of them empty.

        Raises:
            BadRequestError: the clip cannot be decoded, is silent, overflows, or is longer than the tower reads.
        """
        waveform = decode_clip(clip, self._processor.feature_extractor)
        return _computing.submit(self._judge, waveform, descriptions).result()

    def find(self, description: str, most: int) -> list[Hit]:
        """The clips that fit a description best, best first."""
        return _computing.submit(self._find, description, most).result()

    def more_like(self, number: int, most: int) -> tuple[GalleryClip, list[Hit]]:
        """The clips that sound most like one of the gallery, itself left out.

        Args:
            number: of the clip in the gallery.
            most: clips to give back.

        Returns:
            The clip, and what sounds like it, best first, with cosines alone.

        Raises:
            BadRequestError: there is no such clip, or it could not be read.
        """
        for row, (known, clip) in enumerate(self._clips):
            if known == number:
                hits = self._hits(self._embeds[row], most + 1, _uncalibrated)
                return clip, [hit for hit in hits if hit.number != number][:most]
        raise BadRequestError("bad_parameter", f"there is no clip {number} in the gallery")

    def _judge(self, waveform: np.ndarray, descriptions: Sequence[str]) -> list[DescriptionFit]:
        clip = torch.from_numpy(embed_waveforms(self._model, self._processor, [waveform])[0])
        if not torch.isfinite(clip).all():
            raise BadRequestError("unusable_audio", "the clip is far too loud: its samples overflow")
        fits = self._fits(self._reranker.embed_texts(descriptions) @ clip)
        paired = [DescriptionFit(*pair) for pair in zip(descriptions, fits, strict=True)]
        return sorted(paired, key=lambda found: -found.fit.cosine)

    def _find(self, description: str, most: int) -> list[Hit]:
        return self._hits(self._reranker.embed_texts([description])[0], most, self._fits)

    def _hits(self, wanted: Tensor, most: int, fits: Callable[[Tensor], list[Fit]]) -> list[Hit]:
        scores = rank_candidates(self._embeds, wanted)
        best = scores.order[:most]
        found = zip(best.tolist(), fits(scores.score[best]), strict=True)
        return [Hit(*self._clips[row], fit) for row, fit in found]

    def _fits(self, cosines: Tensor) -> list[Fit]:
        calibration = self._reranker.calibration
        if calibration is None:
            return _uncalibrated(cosines)
        columns = (cosines, calibration.probability(cosines), calibration.percentile(cosines))
        return [Fit(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _uncalibrated(cosines: Tensor) -> list[Fit]:
    return [Fit(cosine) for cosine in cosines.tolist()]
