"""Puts what `make demo` printed and what the two studies found into README.md, so that nobody types a figure by hand.

python docs/put_results_into_readme.py --demo runs/demo/results.txt --study runs/study/study.json \\
    --siblings runs/siblings/study.json
"""

import argparse
import json
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
DEMO = ("<!-- what make demo printed -->", "<!-- end -->")
STUDY = ("<!-- what make study found -->", "<!-- end of study -->")
SIBLINGS = ("<!-- what make siblings found -->", "<!-- end of siblings -->")


def main() -> None:
    """Replaces what stands between the markers of each file that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="text that evaluate_retrieval.py --table wrote")
    parser.add_argument("--study", type=Path, help="study.json that study.py wrote of configuration/demo/study.yaml")
    parser.add_argument("--siblings", type=Path, help="the same of configuration/demo/siblings.yaml")
    arguments = parser.parse_args()
    found = False
    for path, markers, render in (
        (arguments.demo, DEMO, demo_table),
        (arguments.study, STUDY, study_table),
        (arguments.siblings, SIBLINGS, study_table),
    ):
        if path is not None and path.is_file():
            replace(markers, render(path))
            found = True
    if not found:
        parser.error("none of the files is there: run make demo or make study first")


def demo_table(path: Path) -> str:
    """The printed table as it is."""
    table = "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").strip("\n").splitlines())
    return f"```text\n{table}\n```"


def study_table(path: Path) -> str:
    """The claims and their verdicts."""
    from raclap.study.page import claims_table

    return "\n" + claims_table(json.loads(path.read_text(encoding="utf-8"))) + "\n"


def replace(markers: tuple[str, str], text: str) -> None:
    """Puts text between two markers of README.md."""
    begin, end = markers
    before, found, rest = README.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{README} lacks the markers {begin} and {end}")
    README.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
