"""Every block of README.md and of the documents, run as it stands; `tests/snippets` says in what world and how."""

import configparser
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from snippets.contents import ROOT, make_world
from snippets.documents import Block, blocks_of, commands_of
from snippets.programs import start_programs
from snippets.world import bare

import loopback_hub
from loopback_hub import WRITER, LoopbackHub
from raclap.data.manifest import read_manifest, write_manifest
from raclap.experiment import run_experiment
from raclap.recipe import read_recipe

README = ROOT / "README.md"
RUN = {"python", "sh", "bash"}
SHOWN = {"text", "json", "csv", "yaml"}  # what commands print, and files
INSTALLING = 'pip install "torch==2.13.0" && pip install -c constraints.txt -e ".[demo]"'
# Commands that are not run, and what is looked at instead.
ELSEWHERE = {
    "archive.md": {
        "raclap index hf://datasets/somebody/voices voices.index --model runs/demo/export --split train": "no such "
        "data set is on the Hub, nor is a network here: the next command takes the same road with a folder, and "
        "tests/integration/test_archive_dataset.py has a Hub of its own",
    },
    "README.md": {
        "make test": "it would run this test: test_make_test_runs_pytest",
        INSTALLING: "it changes the environment that the tests run in: test_what_is_installed_is_there_to_install",
        'pip install -c constraints.txt -e ".[archive]"': "it changes the environment: "
        "test_what_is_installed_is_there_to_install",
    },
    "checkpoints.md": {
        "hf download ajd12342/paraspeechclap-combined --local-dir downloads": "there is no network: a file of the "
        "published names and small sizes lies there",
    },
    "onnx.md": {
        "pip install 'raclap[onnx]'": "it changes the environment: test_what_is_installed_is_there_to_install",
    },
    "page.md": {
        'pip install -e ".[page,demo]"': "it changes the environment: test_what_is_installed_is_there_to_install",
        "hf upload USER/NAME build/space --repo-type space": "there is no network: what would be sent is looked at in "
        "tests/unit/test_page_space.py",
    },
    "data.md": {
        "raclap prepare hub somebody/voices --config clean --revision v1.0 --extract-to audio/voices": "no such data "
        "set is on the Hub, nor is a network here: the next command takes the same road with a folder, and "
        "tests/unit/test_user_data.py has the options",
    },
}
# Pages that a command wrote: the command is a record of where their figures are from, with the folders of that day.
RECORDS = ("zero_shot_test.md", "zero_shot_validation.md")
DOCUMENTS = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in RECORDS and blocks_of(path))
# What a document takes as done, and where it says that its Python is run.
BEFORE = {
    "classification.md": "raclap prepare ravdess PATH/TO/ravdess",
    "endpoint.md": "raclap export runs/demo out/demo",
}
PYTHON_FOLDERS = {"endpoint.md": "out/demo", "onnx.md": "out/demo"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory, text_folder) -> Iterator[dict[str, str]]:
    """The environment in which `python`, `raclap`, `accelerate` and `make` of a document are run."""
    server, environment = start_programs(tmp_path_factory.mktemp("programs"), text_folder)
    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setitem(loopback_hub._ACCOUNTS, WRITER, ("USER", "write"))  # as documents call their reader
        yield {**environment, "SNIPPETS_HUB": hub.url, "SNIPPETS_TOKEN": WRITER}
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    assert not Path(environment["VENV"], "pyvenv.cfg").exists(), "make has installed something"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, recipe_file, corpora) -> Path:
    """A finished run, calibrated, on clips that may be handed on: what documents take `runs/NAME` for."""
    folder = tmp_path_factory.mktemp("run")
    settings = ["training.steps_per_epoch=12", "optimizer.learning_rate=0.01"]
    for number, (name, path) in enumerate(corpora.items()):
        free, manifest = folder / f"{name}.parquet", read_manifest(path)
        write_manifest(free, [replace(pair, licence="CC0-1.0") for pair in manifest], manifest.audio_root)
        settings.append(f"data.corpora.{number}.manifest={free}")
    run_experiment(read_recipe(recipe_file, settings), folder / "run")
    return folder / "run"


def run_document(path: Path, folder: Path, programs: dict[str, str], runs: dict[str, Path]) -> None:
    blocks = blocks_of(path)
    strange = [block.place for block in blocks if block.language not in RUN | SHOWN]
    assert not strange, f"name the language of these blocks, one of {sorted(RUN | SHOWN)}: {strange}"
    to_run = [block for block in blocks if block.language in RUN]
    elsewhere = ELSEWHERE.get(path.name, {}).keys()
    there = {bare(command) for block in to_run if block.language != "python" for command in commands_of(block)}
    assert elsewhere <= there, f"no longer in {path.name}: {elsewhere - there}"
    world = make_world(folder, programs, runs)
    if path.name in BEFORE:
        assert (said := world.run(Block(path.name, 0, "sh", BEFORE[path.name]))) is None, said
    failed = replace(world, python_folder=PYTHON_FOLDERS.get(path.name, ".")).run_all(to_run, elsewhere)
    assert not failed, "\n\n".join(failed)


def test_every_block_of_the_readme_runs(programs, tmp_path):
    run_document(README, tmp_path, programs, runs={})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_block_of_the_documents_runs(path, programs, small_run, tmp_path):
    names = ("demo", "demo_ra_clap", "mine", "ravdess_emotion")
    run_document(path, tmp_path, programs, dict.fromkeys(names, small_run))


@pytest.mark.parametrize(
    ("language", "text", "message"),
    [
        ("sh", "raclap rerank runs/demo/export --txt sad a.wav", "unrecognized arguments: --txt"),
        ("sh", "raclap calibrate runs/demo/export --manifest CORPUS/manifest", "no such"),
        ("sh", "python train.py --recipe configuration/demo/es_clap.yaml", "es_clap.yaml"),
        ("sh", "python train.py --recipe RECIPE.yaml --set training.epoch=1", "did you mean 'epochs'"),
        ("sh", "accelerate launch --many_gpus train.py --recipe RECIPE.yaml", "--many_gpus"),
        ("sh", "false | true", ""),
        ("sh", "make tset", "tset"),
        ("sh", "pip install nothing", "pip is not run by tests"),
        ("sh", "python -m pip install nothing", "pip is not run by tests"),
        ("python", "from modeling_raclap import RaClapModle\n", 'RaClapModle\'|line 7, in <module>'),
        ("python", "import sys\nsys.exit('no')\n", "no"),
    ],
)  # fmt: skip
def test_what_does_not_run_is_found(language, text, message, programs, small_run, tmp_path):
    world = make_world(tmp_path, programs, {"demo": small_run})
    said = world.run(Block("page.md", 7, language, text))
    assert said is not None and said.startswith(f"page.md:7: {text.strip()}")
    assert re.search(message, said)


def test_blocks_and_their_commands_are_taken_out_as_they_stand(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "One\n\n```sh\n# why\nls \\\n  -l   # both\necho 'a\nb'\n```\n"
        "- list\n\n  ```python\n  x = 1\n  ```\n```\nout\n```\n"
    )
    shell, python, output = blocks_of(path)
    assert [(block.line, block.language) for block in (shell, python, output)] == [(4, "sh"), (13, "python"), (16, "")]
    assert python.text == "x = 1\n"
    assert [(c.line, c.text) for c in commands_of(shell)] == [(5, "ls \\\n  -l   # both\n"), (7, "echo 'a\nb'\n")]
    path.write_text("```sh\nls\n")
    with pytest.raises(AssertionError, match=r"page\.md: a fence is not closed"):
        blocks_of(path)


@pytest.mark.parametrize("path", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.stem)
def test_no_command_hides_outside_of_a_fence_and_named_tests_are_there(path):
    text = path.read_text(encoding="utf-8")
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}(?:python|pip|raclap|accelerate|make|hf) .*", outside, re.MULTILINE)
    assert not indented, f"{path.name}: put these into a fenced block, that they be run: {indented}"
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert (ROOT / file).is_file(), f"{path.name}: {file}"
        assert not name or f"def {name}(" in (ROOT / file).read_text(), f"{path.name}: {file}::{name}"


def test_make_test_runs_pytest():
    words = ["make", "--dry-run", "--always-make", "--no-print-directory", "test", "VENV=/v"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    command = printed.stdout.splitlines()[-1]
    assert command.startswith("/v/bin/python -m pytest ")
    options = command.split()[3:]
    subprocess.run([sys.executable, "-m", "pytest", *options, "--version"], cwd=ROOT, check=True, timeout=60)


def test_what_is_installed_is_there_to_install():
    torch = re.search(r'"(torch==[\d.]+)"', INSTALLING)[1]
    assert f'install --quiet "{torch}"' in (ROOT / "Makefile").read_text(), "README and Makefile install another torch"
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert {"archive", "demo", "onnx", "page"} <= settings["options.extras_require"].keys()
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pinned = [Requirement(line) for line in lines if line]
    assert pinned and all(str(requirement.specifier).startswith("==") for requirement in pinned)
