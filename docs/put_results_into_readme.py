"""Puts the table that `make demo` printed into README.md, so that nobody types a figure by hand.

python docs/put_results_into_readme.py runs/demo/results.txt
"""

import argparse
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- what make demo printed -->", "<!-- end -->"


def main() -> None:
    """Replaces what stands between the two markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="text that evaluate_retrieval.py --table wrote")
    table = "\n".join(line.rstrip() for line in parser.parse_args().table.read_text().strip("\n").splitlines())
    before, found, rest = README.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        parser.error(f"{README} lacks the markers {BEGIN} and {END}")
    README.write_text(f"{before}{BEGIN}\n```text\n{table}\n```\n{END}{after}")


if __name__ == "__main__":
    main()
