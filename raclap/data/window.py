"""Some speech towers read a window of fixed length: what does not fit is found before any training time is spent."""

import numpy as np

from raclap.data.inspection import Inspection, Skipped
from raclap.errors import AudioError, RecipeError


def check_crops(longest: float | None, crop_seconds: float) -> None:
    """Checks that crops fit the tower's window.

    Raises:
        RecipeError: they are longer.
    """
    if longest is not None and crop_seconds > longest:
        raise RecipeError(f"data.crop_seconds: {crop_seconds}, but the speech tower reads at most {longest:.2f} s")


def keep_to_window(
    corpus: Inspection, longest: float | None, crop_seconds: float | None, skip_bad: bool
) -> Inspection:
    """Checks that every clip of a corpus fits the tower's window, as it will be read.

    Args:
        corpus: inspected rows. Rows whose length is not known (`audio_check: none`) are taken as they are.
        longest: seconds that the tower reads at most; None: any length.
        crop_seconds: clips are cut to this; None: they are read whole.
        skip_bad: leave clips out that are too long, instead of stopping.

    Returns:
        The corpus, without what was left out.

    Raises:
        RecipeError: crops are longer than the window.
        AudioError: a clip that is read whole is longer, and `skip_bad` is false.
    """
    if longest is None:
        return corpus
    if crop_seconds is not None:
        check_crops(longest, crop_seconds)
        return corpus
    # Silent ends may be cut yet, so a row that looks too long is read.
    candidates = np.flatnonzero(corpus.seconds > longest).tolist()
    lengths = {row: len(corpus.waveform(row)) / corpus.rate for row in candidates}
    over = {row: seconds for row, seconds in lengths.items() if seconds > longest}
    if not over:
        return corpus
    reasons = {
        row: f"{value:.2f} s, but the speech tower reads at most {longest:.2f} s" for row, value in over.items()
    }
    if not skip_bad:
        first = min(over)
        more = f" (and {len(over) - 1} more clips)" if len(over) > 1 else ""
        raise AudioError(
            f"{corpus.manifest.path}: row {corpus.manifest[first].pair_id}: {reasons[first]}{more}; "
            f"--skip-bad leaves such rows out"
        )
    good = [row for row in range(len(corpus.manifest)) if row not in over]
    return corpus.rows(good, [Skipped(corpus.manifest[row].pair_id, reason) for row, reason in reasons.items()])
