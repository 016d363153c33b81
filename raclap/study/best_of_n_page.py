"""The page of best-of-N choice: its record as Markdown. Nothing on it is typed by hand."""

from typing import Any

from raclap.study.markdown import p_value, plus_minus, signed, table

Record = dict[str, Any]


def render_best_of_n(record: Record) -> str:
    """Writes the page.

    Args:
        record: what `compare_choices` found, with `setting`, `command`, `versions` and `example` (a prompt).
    """
    setting, facts = record["setting"], record["versions"]
    N = setting["takes"]
    return "\n\n".join(
        [
            f"# Best of {N}",
            f"Written by `{record['command']}` on {facts['date']} ({facts['machine']}, torch {facts['torch']}, seed "
            f"{setting['seed']}); no figure was typed by hand.",
            f"{setting['prompts']} prompts name {setting['least']} to {setting['most']} attributes of "
            f"{setting['corpus']} in the words of test captions, such as: *{record['example']}* Each is spoken "
            f"{N} times with one sentence, by random voices of the test split with random delivery, and a model "
            f"chooses by the prompt alone. Random choice is an exact expectation; the best possible knows all "
            f"attributes.",
            _choices(record),
            "*All*: everything asked for holds for the chosen take. *Share*: of what is asked for. Percent ± half the "
            "95 % bootstrap interval over prompts; gains are paired, in points.",
            "## By attribute",
            _attributes(record),
            "How often the chosen take has the value asked for, percent of the prompts that ask for one.",
        ]
    ) + "\n"  # fmt: skip


def _choices(record: Record) -> str:
    plain = {"random choice": record["random"], "best possible": record["best_possible"]}
    rows = [["random choice", *_levels(plain["random choice"]), "", ""]]
    for model, found in record["models"].items():
        gains = (f"{signed(gain)}, p {p_value(gain['p'])}" for gain in (found["complete_gain"], found["share_gain"]))
        rows.append([model, *_levels(found), *gains])
    rows.append(["best possible", *_levels(plain["best possible"]), "", ""])
    return table(["choice", "all", "share", "all: gain over random", "share: gain over random"], rows, "lrrrr")


def _levels(found: Record) -> list[str]:
    return [plus_minus(found["complete"]), plus_minus(found["share"])]


def _attributes(record: Record) -> str:
    models = list(record["models"])
    rows = [
        [name, found["prompts"], *(f"{each:.1f}" for each in _ordered(found, models))]
        for name, found in record["attributes"].items()
    ]
    headings = ["attribute", "prompts", "random choice", *models, "best possible"]
    return table(headings, rows, "l" + "r" * (len(headings) - 1))


def _ordered(found: Record, models: list[str]) -> list[float]:
    return [found["random"], *(found["models"][model] for model in models), found["best_possible"]]
