"""The page of a study: study.json as Markdown. Nothing on it is typed by hand but the notes that it takes in."""

from collections.abc import Sequence
from typing import Any

from raclap.retrieval.classification import MEASURES
from raclap.retrieval.ordinality import TAUS
from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.reporting import ARROWS
from raclap.study.claims import NOT_RUN
from raclap.study.markdown import arrow, mean_and_range, p_value, plus_minus, points, signed, table
from raclap.study.values import GAPS

_RECALLS = ("R@1", "R@5", "R@10")
_GAIN = "nDCG@10"

Record = dict[str, Any]


def render_page(record: Record, claims_figure: str, runs_figure: str, notes: str = "") -> str:
    """Writes the page.

    Args:
        record: what `gather` found.
        claims_figure: file name of the picture of the claims, relative to the page.
        runs_figure: likewise of the runs.
        notes: Markdown to take in as it is, after the claims.
    """
    sections = [
        _opening(record),
        _claims(record, claims_figure),
        notes.strip(),
        *(_results(record, group, heading) for group, heading in record["groups"].items()),
        f"![{_GAIN} of every run, with intervals]({runs_figure})" if record["results"] else "",
        _details(record),
        _reading(record),
        _what_was_run(record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def claims_table(record: Record) -> str:
    """The claims with their verdicts as a Markdown table."""
    rows = []
    for claim in record["claims"]:
        found = claim["verdict"] != NOT_RUN
        difference = f"{signed(claim['difference'])} {claim['metric']}" if found else ""
        places = ", ".join(claim["corpora"])
        rows.append(
            [claim["title"], f"**{claim['verdict']}**", difference, places, len(claim["seeds"]), claim["source"]]
        )
    return table(["claim", "verdict", "difference", "on", "seeds", "source"], rows, "llllrl")


def _opening(record: Record) -> str:
    facts = record["versions"]
    done = sum(len(run["seeds"]) for run in record["runs"].values())
    planned = done + sum(len(run["missing"]) for run in record["runs"].values())
    about = f"{record['about']}\n\n" if record["about"] else ""
    return (
        f"# {record['title']}\n\n{about}"
        f"Written by `{record['command']}` from the study's own `study.json`; no figure was typed by hand.\n"
        f"{done} of {planned} training runs are done. Last written on {facts['date']} ({facts['machine']}, "
        f"torch {facts['torch']}).\n"
        f"All figures are of the test splits; the epoch of each run was chosen on the validation splits."
    )


def _claims(record: Record, figure: str) -> str:
    if not record["claims"]:
        return ""
    margin = f"{record['margin']:g}"
    text = (
        f"## The claims\n\n{claims_table(record)}\n\n"
        f"The difference is that of the first run minus the second, in points, averaged over the corpora and both "
        f"directions, with its 95 % interval over seeds and speakers. *Seen*: the whole interval is above zero.\n"
        f"*Not seen*: it is at or below zero, or within ± {margin}, which is practically equal. *Undecided*: the rest."
    )
    if any(claim["metric"].startswith("tau") for claim in record["claims"]):
        text += " Points of τ are hundredths; *tau* is the mean of τ in valence and in arousal."
    if record["protocols"]:
        text += " UAR and macro_F1 are of zero-shot classification, averaged over the protocols named with them."
    if any(len(claim["seeds"]) == 1 for claim in record["claims"]):
        text += " A verdict from one seed is about these very models, not about the way they were trained."
    shown = any(claim["verdict"] != NOT_RUN for claim in record["claims"])
    return f"{text}\n\n![Differences that the claims speak of, with intervals]({figure})" if shown else text


def _results(record: Record, group: str, heading: str) -> str:
    runs = [run for run, about in record["runs"].items() if about["group"] == group and run in record["results"]]
    if not runs:
        return f"## {heading}\n\nNone of these runs is done yet."
    tested = [corpus for corpus in record["corpora"] if any(corpus in record["results"][run] for run in runs)]
    parts = [
        f"## {heading}",
        "Percent, mean over seeds ± half the 95 % interval over seeds and speakers.",
        *(_recalls(record, [run for run in runs if c in record["results"][run]], c) for c in tested),
        f"### {_GAIN}",
        _gains(record, runs, tested),
        *(_order(record, runs, corpus) for corpus in tested),
        *(_classified(record, runs, protocol) for protocol in record["protocols"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _recalls(record: Record, runs: Sequence[str], corpus: str) -> str:
    """R@k on one corpus, and the paper's figures beside it."""
    paper = record["paper"] or {"corpora": {}, "recalls": {}}
    theirs = paper["corpora"].get(corpus)
    headings = ["run", *(f"{metric} {arrow(direction)}" for direction in DIRECTIONS for metric in _RECALLS)]
    rows = []
    for run in runs:
        found = record["results"][run][corpus]
        row = [record["runs"][run]["title"], *(plus_minus(found[d][m]) for d in DIRECTIONS for m in _RECALLS)]
        rows.append([*row, *([_published(paper["recalls"].get(run, {}).get(corpus))] if theirs else [])])
    if ceiling := record["corpora"][corpus]["style_ceiling"]:
        # The same in both directions: it belongs to the test set.
        cells = [f"{ceiling[f'style_ceiling_{m}']:.1f}" if f"style_ceiling_{m}" in ceiling else "" for m in _RECALLS]
        rows.append(["*style ceiling*", *cells, *cells, *([""] if theirs else [])])
    headings += [f"*paper: {theirs}*"] if theirs else []
    recalls = table(headings, rows, "l" + "r" * 6 + "l" * bool(theirs))
    note = (
        f"\n\nIn italics, not ours: {paper['source']}, on {theirs} (R@1/5/10 audio → text, then text → audio). Those "
        f"are other recordings, captions and encoders and another number of candidates: compare the order of "
        f"rows, not values."
        if theirs
        else ""
    )
    return f"### Recall on {corpus}\n\n{recalls}{note}"


def _gains(record: Record, runs: Sequence[str], corpora: Sequence[str]) -> str:
    headings = ["run", "seeds", *(f"{corpus} {arrow(d)}" for corpus in corpora for d in DIRECTIONS)]
    rows = []
    for run in runs:
        found = record["results"][run]
        cells = [plus_minus(found[c][d][_GAIN]) if c in found else "" for c in corpora for d in DIRECTIONS]
        rows.append([record["runs"][run]["title"], len(record["runs"][run]["seeds"]), *cells])
    return table(headings, rows, "l" + "r" * (len(headings) - 1))


def _order(record: Record, runs: Sequence[str], corpus: str) -> str:
    """τ on one corpus, and how far apart clips and captions lie."""
    found = {run: record["ordinality"].get(run, {}).get(corpus) for run in runs}
    rows = [
        [
            record["runs"][run]["title"],
            *(plus_minus(order[direction][tau]) for tau in TAUS for direction in DIRECTIONS),
            *(mean_and_range(order[gap]) for gap in GAPS),
        ]
        for run, order in found.items()
        if order is not None
    ]
    if not rows:
        return ""
    taus = [f"τ {tau.removeprefix('tau_')} {arrow(direction)}" for tau in TAUS for direction in DIRECTIONS]
    text = (
        f"### Order of valence and arousal on {corpus}\n\n"
        "Kendall's τ-b in hundredths: of a query's candidates, order by similarity against order by closeness in "
        "valence (arousal). The modality gap is the distance between the centroids of clips and captions, MMD the "
        "squared maximum mean discrepancy; both with the least and the greatest over seeds, where they differ."
    )
    return f"{text}\n\n{table(['run', *taus, 'modality gap', 'MMD'], rows, 'l' + 'r' * 6)}"


def _classified(record: Record, runs: Sequence[str], protocol: str) -> str:
    """Zero-shot classification by one protocol."""
    about = record["protocols"][protocol]
    found = {run: record["classified"].get(run, {}).get(protocol) for run in runs}
    rows = [
        [
            record["runs"][run]["title"],
            *(plus_minus(measures[measure]) for measure in MEASURES),
            *("" if f1 is None else f"{f1:.1f}" for f1 in measures["class_f1"].values()),
        ]
        for run, measures in found.items()
        if measures is not None
    ]
    if not rows:
        return ""
    classes = about["classes"]
    text = (
        f"### Zero-shot classification: {protocol}\n\n"
        f"{about['clips']:,} test clips of {about['corpus']}, {len(classes)} classes; chance has a UAR of "
        f"{100 / len(classes):.1f}. F1 of each class: mean over seeds."
    )
    headings = ["run", *MEASURES, *(f"F1 {label}" for label in classes)]
    return f"{text}\n\n{table(headings, rows, 'l' + 'r' * (len(headings) - 1))}"


def _details(record: Record) -> str:
    judged = [claim for claim in record["claims"] if claim["verdict"] != NOT_RUN]
    return "\n\n".join(["## Each claim in detail", *(_detail(record, claim) for claim in judged)]) if judged else ""


def _detail(record: Record, claim: dict[str, Any]) -> str:
    better, worse = (record["runs"][claim[side]]["title"] for side in ("better", "worse"))
    pooled = claim["difference"]
    seeds = ", ".join(
        f"{points(value)} (seed {seed})" for value, seed in zip(claim["per_seed"], claim["seeds"], strict=True)
    )
    # A cell is of one protocol, or of one corpus and direction.
    places = ["protocol"] if "protocol" in claim["cells"][0] else ["corpus", "direction"]
    rows = [
        [
            *(ARROWS.get(cell[place], cell[place]) for place in places),
            f"{cell['better']:.1f}",
            f"{cell['worse']:.1f}",
            signed(cell["difference"]),
        ]
        for cell in claim["cells"]
    ]
    sides = "l" * len(places) + "rrr"
    return (
        f"### {claim['title']}\n\n"
        f"*{better}* against *{worse}*, {claim['metric']}. Source: {claim['source']}.\n"
        f"**{claim['verdict'].capitalize()}** ({claim['reading']}): {signed(pooled)}, p {p_value(pooled['p'])}. "
        f"Each seed alone: {seeds}.\n\n" + table([*places, better, worse, "difference"], rows, sides)
    )


def _reading(record: Record) -> str:
    S = max([len(run["seeds"]) for run in record["runs"].values()], default=0)
    speakers = [f"{about['splits']['test']['speakers']} ({name})" for name, about in record["corpora"].items()]
    few = (
        "With one seed the intervals speak of speakers alone: another seed could move every figure by more."
        if S <= 1
        else f"With {S} seeds the share of the seeds in an interval is drawn too narrow: {S} drawn seeds vary by "
        f"{S - 1}/{S} of their variance on average, and take few distinct values."
    )
    return (
        "## How to read the figures\n\n"
        f"A test value is that of one seed and one query. Queries of a speaker stand or fall together, and so do all "
        f"queries of a seed. The 95 % intervals are percentiles of {record['resamples']:,} resamples of a two-way "
        f"bootstrap: seeds and speakers are drawn with replacement, independently (the pigeonhole bootstrap; Owen, "
        f"2007). Differences are paired: both runs are taken on the same seeds, speakers and queries."
        f"{_of_confusions(record)}\n\n"
        f"- {few}\n"
        f"- The test splits have few speakers: {', '.join(speakers)}. Intervals over so few are narrow too.\n"
        f"- {len(record['claims'])} claims are judged, each at 95 %; no correction is made for their number.\n"
        f"- {_GAIN} takes as gain the share of a caption's named attributes that hold; recall asks for the pair."
    )


def _of_confusions(record: Record) -> str:
    """What a resample is where a figure is no mean over queries."""
    return (
        " UAR and macro-F1 are measured on the confusion matrix of each drawn seed, summed over the drawn speakers."
        if record["protocols"]
        else ""
    )


def _what_was_run(record: Record) -> str:
    sizes = [
        [name, *(f"{about['splits'][split][key]:,}" for split in about["splits"] for key in ("pairs", "speakers"))]
        for name, about in record["corpora"].items()
    ]
    headings = [f"{split} {key}" for split in ("train", "validation", "test") for key in ("pairs", "speakers")]
    parts = [
        "## What was run",
        table(["corpus", *headings], sizes, "l" + "r" * 6),
        table(
            [
                "run",
                "trained on",
                "mixture",
                "starts from",
                "steps",
                "batch",
                "best epoch of each seed",
                "training time",
            ],
            [_run_row(record, about) for about in record["runs"].values()],
            "llllrrll",
        ),
        "Training time is that of the steps, without validation, summed over seeds; of an epoch that was broken off, "
        "the part after that.",
        _protocols(record),
        _machines(record),
        _missing(record),
    ]
    return "\n\n".join(part for part in parts if part)


def _protocols(record: Record) -> str:
    rows = [
        [
            name,
            about["corpus"],
            ", ".join(about["classes"]),
            *("" if about[key] is None else f"{about[key]:,}" for key in ("clips", "left_out")),
            f"`{about['file']}`",
        ]
        for name, about in record["protocols"].items()
    ]
    return table(["protocol", "on", "classes", "clips", "left out", "file"], rows, "lllrrl") if rows else ""


def _run_row(record: Record, about: dict[str, Any]) -> list[Any]:
    seeds = about["seeds"].values()
    start = about["starts_from"]
    # A run may be named with the seed that it is taken from.
    start = "" if start is None else record["runs"][start.partition("@")[0]]["title"]
    return [
        about["title"],
        ", ".join(about["corpora"]),
        _mixture(about),
        start,
        " / ".join(sorted({f"{seed['steps']}" for seed in seeds})),
        about["batch_size"],
        ", ".join(f"{seed['best_epoch']} of {seed['epochs']}" for seed in seeds),
        _minutes(sum(seed["seconds"] for seed in seeds)) if seeds else "not run",
    ]


def _mixture(about: dict[str, Any]) -> str:
    corpora, mixture = about["corpora"], about["mixture"]
    if len(corpora) == 1:
        return ""
    shares = mixture if isinstance(mixture, dict) else dict.fromkeys(corpora, 1)
    return "by size" if mixture == "natural" else ":".join(str(shares[corpus]) for corpus in corpora)


def _machines(record: Record) -> str:
    runs = [seed for about in record["runs"].values() for seed in about["seeds"].values()]
    if not runs:
        return ""
    places = sorted({(run["machine"], run["torch"]) for run in runs})
    dates = sorted({run["date"] for run in runs})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    where = "; ".join(f"{machine}, torch {torch}" for machine, torch in places)
    return f"{len(runs)} runs, {_minutes(sum(run['seconds'] for run in runs))} of training, {when}: {where}."


def _missing(record: Record) -> str:
    lines = [
        f"- {about['title']}: seed {', '.join(map(str, about['missing']))}"
        for about in record["runs"].values()
        if about["missing"]
    ]
    return "\n".join(["Not run, or not finished:\n", *lines]) if lines else ""


def _published(recalls: Sequence[float] | None) -> str:
    """R@1/5/10 audio → text, then text → audio, in italics: not ours."""
    if recalls is None:
        return ""
    directions = [" / ".join(f"{value:.1f}" for value in part) for part in (recalls[:3], recalls[3:])]
    return f"*{', '.join(directions)}*"


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
