"""What `raclap search` does: from an index and queries to what is printed and written."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tqdm import tqdm

import raclap
from raclap.archive.answers import Answer, as_csv, as_json, print_table, shown
from raclap.archive.clips import export_moment
from raclap.archive.facts import ArchiveError
from raclap.archive.moments import Moment
from raclap.archive.queries import Query, QueryError
from raclap.archive.search_page import collect_sound, render_search_page
from raclap.archive.searching import ArchiveSearch, SearchOptions
from raclap.errors import AudioError
from raclap.files import write_text

_Recording = tuple[str, str]  # root and name
_ENDINGS = {".json": "json", ".csv": "csv", ".html": "html", ".htm": "html"}


@dataclass(frozen=True)
class Output:
    """Where answers go.

    Attributes:
        form: table, json, csv or html.
        file: to write; None: standard output.
        clips: folder for the moments as FLAC; None: they are not written.
    """

    form: str = "table"
    file: Path | None = None
    clips: Path | None = None

    @classmethod
    def of(cls, form: str | None, file: Path | None, clips: Path | None) -> Self:
        """What is meant by what was given.

        Raises:
            QueryError: it is not known in which form to write, or a page or table has nowhere to go.
        """
        named = None if file is None else _ENDINGS.get(file.suffix.lower())
        chosen = form or named or ("table" if file is None else None)
        if chosen is None:
            raise QueryError(f"{file}: expected a name that ends in {', '.join(_ENDINGS)}, or --format")
        if chosen == "table" and file is not None:
            raise QueryError(f"{file}: a table is for the terminal; --format takes json, csv or html for a file")
        if chosen == "html" and file is None:
            raise QueryError("a page needs a file to be written to: --output PAGE.html")
        return cls(chosen, file, clips)


def search_index(
    index: str | Path,
    queries: Sequence[Query],
    options: SearchOptions,
    output: Output,
    model_folder: Path | None = None,
) -> None:
    """Searches an index and prints or writes what was found; recordings that are gone are listed, the rest goes on.

    Args:
        index: its folder or address.
        queries: to search for.
        options: what is wanted of the moments.
        output: where to, and how.
        model_folder: where the model lies that made the index; None: where it lay then.

    Raises:
        RaClapError: the index, its model, a query, a clip or an option is not as it should be, or a file cannot be
            written.
    """
    options.check()
    search = ArchiveSearch.open(index, model_folder)
    answers = [
        Answer(query, tuple(moments), {})
        for query, moments in zip(queries, search.search_all(queries, options), strict=True)
    ]
    lost = {
        _key(moment): "no longer there, or not a file below the archive's root"
        for answer in answers
        for moment in answer.moments
        if not moment.is_there
    }
    if output.clips is not None:
        answers, bad = _export(answers, output.clips)
        lost = bad | lost
    if output.form == "html":
        sound = collect_sound(answers, search.index.facts.model.sampling_rate)
        lost = {_key(answers[of].moments[rank]): why for (of, rank), why in sound.missing.items()} | lost
        _write(output.file, render_search_page(answers, sound, _facts(search, options)))
    elif output.form == "table":
        print_table(answers)
    else:
        text = as_json(answers) + "\n" if output.form == "json" else as_csv(answers)
        if output.file is None:
            sys.stdout.write(text)
        else:
            _write(output.file, text)
    _report(answers, lost, options)


def _key(moment: Moment) -> _Recording:
    return moment.root, moment.recording


def _export(answers: Sequence[Answer], folder: Path) -> tuple[list[Answer], dict[_Recording, str]]:
    """Answers with the files of their moments, and reasons by recording of those that could not be read."""
    several, bad, exported = len(answers) > 1, {}, []
    ranked = [(number, rank) for number, answer in enumerate(answers) for rank in range(len(answer.moments))]
    clips: dict[tuple[int, int], Path] = {}
    for number, rank in tqdm(ranked, desc="writing clips", unit="clip"):
        moment: Moment = answers[number].moments[rank]
        prefix = f"{number + 1:03d}-{rank + 1:03d}" if several else f"{rank + 1:03d}"
        try:
            clips[number, rank] = export_moment(moment, folder, prefix)
        except AudioError as error:
            bad[_key(moment)] = str(error)
    for number, answer in enumerate(answers):
        own = {rank: path for (of, rank), path in clips.items() if of == number}
        exported.append(Answer(answer.query, answer.moments, own))
    return exported, bad


def _write(file: Path, text: str) -> None:
    try:
        write_text(file, text)
    except OSError as error:
        raise ArchiveError(f"{file}: cannot be written ({error.strerror})") from error
    _say(f"{file}: {len(text.encode()) / 1e6:.1f} MB")


def _facts(search: ArchiveSearch, options: SearchOptions) -> dict[str, str]:
    made_by = search.index.facts.model.name
    facts = {"index": f"{search.index.path}, {search.index.windows:,} windows", "model": made_by}
    if options.where is not None:
        facts["only where"] = options.where
    if options.min_probability is not None:
        facts["fits at least"] = f"{100 * options.min_probability:g} %"
    return {**facts, "written by": f"raclap {raclap.__version__}"}


def _report(answers: Sequence[Answer], lost: dict[_Recording, str], options: SearchOptions) -> None:
    """To standard error: standard output is for what another program reads."""
    if lost:
        _say(f"the sound of {len(lost)} recording{'s' if len(lost) > 1 else ''} cannot be read:")
    for (_, name), reason in lost.items():
        _say(f"  {shown(name)}: {shown(reason)}")
    without = [answer.query.name for answer in answers if not answer.moments]
    if without:
        limits = {"--where": options.where, "--min-probability": options.min_probability}
        given = [name for name, value in limits.items() if value is not None]
        why = f" within {' and '.join(given)}" if given else ": the index has no windows"
        _say(f"nothing was found for {len(without)} of {len(answers)} queries{why}, first: {shown(without[0])}")


def _say(words: str) -> None:
    print(words, file=sys.stderr)
