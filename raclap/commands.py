"""What `raclap calibrate` and `raclap rerank` do: from paths on the command line to what is printed and written."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raclap.corpora.candidate_table import Candidate, find_recordings_below, read_candidates
from raclap.corpora.listing import LeftOut
from raclap.data.collection import read_split
from raclap.errors import AudioError, ModelFolderError
from raclap.files import write_json, write_text
from raclap.model_folder import load_model_folder
from raclap.processes import join_processes
from raclap.retrieval.calibration import CalibrationError, CalibrationPairs, fit_calibration
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.rerank import Ranking, Request, Reranker, RerankError


def calibrate_folder(
    folder: Path,
    manifests: Sequence[str],
    split: str = "validation",
    audio_root: Path | None = None,
    skip_bad: bool = False,
    seed: int = 0,
) -> None:
    """Calibrates an exported model, stores what was found in its config.json and prints it.

    Args:
        folder: of the model.
        manifests: `FILE` or `NAME=FILE` each; all weigh the same.
        split: rows to use.
        audio_root: where the audio lies, if not where the manifests say.
        skip_bad: leave bad recordings out, and count them.
        seed: of the captions that are drawn.

    Raises:
        RaClapError: the model, a manifest or a recording is not as it should be, or the model cannot be calibrated.
    """
    model, processor = load_model_folder(folder)
    model = model.to(join_processes().device)
    corpora: dict[str, CalibrationPairs] = {}
    for given in manifests:
        name, _, file = given.rpartition("=")
        rows = read_split(file, split, processor.feature_extractor, audio_root, skip_bad=skip_bad)
        name = name or rows.manifest[0].corpus
        if name in corpora:
            raise CalibrationError(f"two manifests are of '{name}'; tell them apart as NAME=FILE")
        if rows.skipped:
            _say(f"{name}: left out {len(rows.skipped)} bad recordings, first: {rows.skipped[0].reason}")
        corpora[name] = CalibrationPairs.of_manifest(embed_pairs(model, processor, rows), rows.manifest)
    calibration = fit_calibration(corpora, seed)
    config = folder / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    try:
        write_json(config, dict(sorted({**values, "calibration": calibration.to_dict()}.items())))
    except OSError as error:
        raise ModelFolderError(f"{config}: cannot be written ({error.strerror})") from error

    facts, percent = calibration.facts, calibration.quantiles
    counts = ", ".join(f"{name} {clips}" for name, clips in facts["clips"].items())
    even = -calibration.intercept / calibration.slope
    print(f"{config}: calibrated on {sum(facts['clips'].values())} clips ({counts})")
    print(f"  probability 0.5 at a cosine of {even:.3f}, slope {calibration.slope:.3f}")
    print(
        f"  held out by speaker: Brier score {facts['brier']:.3f} (0.250 knows nothing), log loss "
        f"{facts['log_loss']:.3f} (0.693), calibration error {facts['calibration_error']:.3f}"
    )
    print(f"  random clips and captions: 5 % {percent[5]:.3f}, 50 % {percent[50]:.3f}, 95 % {percent[95]:.3f}")


def rerank_clips(
    folder: Path,
    clips: Sequence[Path],
    text: str | None,
    reference: Path | None,
    reference_weight: float,
    output: Path | None = None,
    top: int | None = None,
    skip_bad: bool = False,
) -> None:
    """Ranks clips by a caption, a reference clip or both; JSON to standard output or to a file.

    Args:
        folder: of the model.
        clips: recordings, and folders that are searched for them.
        text: caption.
        reference: a clip that sounds as wanted.
        reference_weight: see `raclap.retrieval.rerank.rank_candidates`.
        output: .json or .jsonl to write; None: print.
        top: keep so many; None: all.
        skip_bad: leave bad recordings out, and list them.

    Raises:
        RaClapError: the model or a recording is not as it should be, or there is nothing to rank, or to rank by.
    """
    _check_output(output)
    found = [path for clip in clips for path in (find_recordings_below(clip) if clip.is_dir() else [clip])]
    request = Request(tuple(dict.fromkeys(found)), text, reference)
    reranker = _reranker(folder, has_text=text is not None)
    (ranking,), bad = reranker.rank([request], reference_weight, skip_bad)
    _list_left_out([LeftOut(path, reason) for path, reason in bad.items()])
    _check_some([ranking])
    written = ranking.to_json(top)
    _write([written], output, as_one=lambda rankings: rankings[0])


def rerank_table(
    folder: Path,
    table: Path,
    reference_weight: float,
    audio_root: Path | None = None,
    columns: Mapping[str, str] | None = None,
    output: Path | None = None,
    top: int | None = None,
    skip_bad: bool = False,
) -> None:
    """Ranks the candidates of every prompt of a table; a JSON line a prompt to standard output, or a file.

    Args:
        folder: of the model.
        table, audio_root, columns: see `raclap.corpora.candidate_table.read_candidates`.
        reference_weight, output, top: see `rerank_clips`; a .json file holds a list.
        skip_bad: leave bad rows and recordings out, and list them.

    Raises:
        RaClapError: the model, a row or a recording is not as it should be; the message names the row.
    """
    _check_output(output)
    candidates, left_out = read_candidates(table, audio_root, columns, skip_bad)
    requests = _requests(candidates)
    reranker = _reranker(folder, has_text=True)
    try:
        rankings, bad = reranker.rank(requests, reference_weight, skip_bad)
    except AudioError as error:
        raise AudioError(f"{_place(str(error), candidates)}{error}; --skip-bad leaves bad rows out") from error
    for candidate in candidates:
        reasons = {str(path): bad[str(path)] for path in (candidate.clip, candidate.reference) if str(path) in bad}
        left_out += [LeftOut(candidate.where, f"{path}: {reason}") for path, reason in reasons.items()]
    _list_left_out(left_out)
    _check_some(rankings)
    root = Path(audio_root or table.parent).resolve()
    _write([ranking.to_json(top, root) for ranking in rankings], output, as_one=list)


def _requests(candidates: Sequence[Candidate]) -> list[Request]:
    """One choice an id, or a prompt and its reference, in the order in which they first appear."""
    clips: dict[tuple[Any, ...], dict[Path, None]] = {}
    for row in candidates:
        clips.setdefault((row.id, row.prompt, row.reference), {})[row.clip] = None
    return [Request(tuple(own), text, reference, name) for (name, text, reference), own in clips.items()]


def _reranker(folder: Path, has_text: bool) -> Reranker:
    model, processor = load_model_folder(folder)
    reranker = Reranker(model.to(join_processes().device), processor)
    if has_text and reranker.calibration is None:
        _say(f"{folder}: not calibrated, so there is no probability and no percentile; raclap calibrate does it")
    return reranker


def _place(message: str, candidates: Sequence[Candidate]) -> str:
    """The row of the clip that an error begins with."""
    for row in candidates:
        if message.startswith((f"{row.clip}: ", f"{row.reference}: ")):
            return f"{row.where}: "
    return ""


def _check_output(output: Path | None) -> None:
    if output is not None and output.suffix not in (".json", ".jsonl"):
        raise RerankError(f"{output}: expected a name that ends in .json or .jsonl")


def _check_some(rankings: Sequence[Ranking]) -> None:
    empty = sum(ranking.best is None for ranking in rankings)
    if empty == len(rankings):
        raise RerankError("no clip is left to choose from")
    if empty:
        _say(f"{empty} of {len(rankings)} prompts have no clip left to choose from: their best is null")


def _list_left_out(left_out: Sequence[LeftOut]) -> None:
    if left_out:
        _say(f"left out {len(left_out)}:")
    for own in left_out:
        _say(f"  {own.where}: {own.reason}")


def _write(rankings: list[dict[str, Any]], output: Path | None, as_one: Callable[[list[dict[str, Any]]], Any]) -> None:
    lines = "".join(json.dumps(ranking, ensure_ascii=False) + "\n" for ranking in rankings)
    if output is None:
        one = as_one(rankings)
        print(json.dumps(one, indent=2, ensure_ascii=False) if isinstance(one, dict) else lines.rstrip("\n"))
    elif output.suffix == ".jsonl":
        write_text(output, lines)
    else:
        write_json(output, as_one(rankings))


def _say(words: str) -> None:
    """To standard error: standard output is for what another program reads."""
    print(words, file=sys.stderr)
