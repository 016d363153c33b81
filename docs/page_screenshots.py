"""The pictures of docs/page.md: starts the page with two models, uses it as a person would, and photographs it.

    python docs/page_screenshots.py                                      the models of `make demo`
    python docs/page_screenshots.py --model A=FOLDER --model B=FOLDER    two others

Needs the extras `page`, `demo` and `test`, and Chromium (`RACLAP_CHROMIUM` says where it is).
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 1240, 860
SEARCH = "a sad, quiet old man"


def main() -> None:
    """Starts, photographs and stops the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="NAME=FOLDER", action="append", default=[], help="as of app.py; two")
    models = [word for model in parser.parse_args().model for word in ("--model", model)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, FOLDER.parent / "app.py", "--port", port, *models]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        try:
            if "the page is at" not in server.stdout.readline():
                sys.exit("the page did not start")
            chromium = os.environ.get("RACLAP_CHROMIUM") or shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(f"http://127.0.0.1:{port}/")
            judge(page)
            find(page)
            compare(page)
        finally:
            server.terminate()


def judge(page: Page) -> None:
    """An example clip and the descriptions that stand there."""
    page.get_by_role("button", name="woman, happy").first.click()
    page.locator("#judge-answer li").first.wait_for()
    photograph(page, "judge")


def find(page: Page) -> None:
    """A search, and its best clips."""
    page.get_by_role("tab", name="Find a voice").click()
    page.locator("#find-description textarea").fill(SEARCH)
    page.locator("#find-button").click()
    page.locator("#find-answer audio").first.wait_for()
    photograph(page, "find")


def compare(page: Page) -> None:
    """The same search with both models."""
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare-find-button").click()
    page.locator("#compare-other audio").first.wait_for()
    photograph(page, "compare")


def photograph(page: Page, name: str) -> None:
    """Takes the picture once players know how long their clips are."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_500)
    page.screenshot(path=FOLDER / f"page_{name}.png", full_page=name == "judge")


if __name__ == "__main__":
    main()
