"""Stands for `python`, `raclap` and `accelerate` on PATH: hands the command to `server.py`, training made small.

The one place where a command differs from what a document says:

- options are added to those that train or that speak corpora, so that they end in seconds;
- `raclap push` finds the tests' Hub where others find the network;
- a page is taken down as soon as it says that it is up.

Any other command, and every option that the document gives, goes on as it is.
"""

import json
import os
import socket
import subprocess
import sys

_LENGTH = 8
_FEW_STEPS = (
    "training.batch_size=12",
    "training.epochs=1",
    "training.steps_per_epoch=12",
    "optimizer.learning_rate=0.01",
    "data.crop_seconds=0.5",
    "model.projection_dim=32",
    "model.speech.config={model_type: raclap_ecapa_tdnn, channels: 32, mfa_channels: 48, hidden_size: 24, "
    "se_channels: 16, attention_channels: 16}",
    "model.text.pretrained=" + os.environ.get("SNIPPETS_TEXT_TOWER", ""),
    "model.text.sha256=null",
    "model.text.config=null",
    "model.text.freeze_layers=0",
)
# A document may train several times under one name: the run before is put aside.
_SMALL_RUN = ("--fresh", *(word for setting in _FEW_STEPS for word in ("--set", setting)))
_TRAINING = ("train.py", "distill.py")
_PAGE, _PAGE_IS_UP = "app.py", "the page is at"


def run_small(program: str, arguments: list[str]) -> int:
    """Runs a command, made small where it has to be → its exit status."""
    if program == "python" and arguments[:2] == ["-m", "pip"]:
        return subprocess.run(["pip"], check=False).returncode  # the one that refuses
    if program == "python" and (not arguments or arguments[0].startswith("-")):
        os.execv(sys.executable, [sys.executable, *arguments])
    if program == "python":
        program, *arguments = arguments
    if any(os.path.basename(word) in _TRAINING for word in (program, *arguments)):  # noqa: PTH119
        return hand_over(program, [*arguments, *_SMALL_RUN])
    if program == "raclap" and arguments[:2] == ["prepare", "embedded"]:
        return hand_over(program, [*arguments, "--scale", "0.02", "--cache", "spoken"])
    if program == "raclap" and arguments[:1] == ["push"]:
        return push(arguments)
    if program == _PAGE and "--space" not in arguments:
        return show_page(arguments)
    return hand_over(program, arguments)


def hand_over(program: str, arguments: list[str]) -> int:
    """Has the server run a program → its exit status."""
    request = {
        "program": program,
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
    }
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["SNIPPETS_SERVER"])
        socket.send_fds(connection, [str(len(body)).zfill(_LENGTH).encode()], [0, 1, 2])
        connection.sendall(body)
        status = int(connection.recv(_LENGTH) or b"1")
    return status if status >= 0 else 128 - status


def push(arguments: list[str]) -> int:
    """In a process of its own: the Hub's client reads its address once."""
    hub = {
        "HF_ENDPOINT": os.environ["SNIPPETS_HUB"],
        "HF_TOKEN": os.environ["SNIPPETS_TOKEN"],
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", "from raclap.cli import main; main()", *arguments]
    return subprocess.run(command, env={**os.environ, **hub}, check=False).returncode


def show_page(arguments: list[str]) -> int:
    """Serves the page until it says where it is."""
    with subprocess.Popen([sys.executable, "-u", _PAGE, *arguments], stdout=subprocess.PIPE, text=True) as page:
        for line in page.stdout:
            print(line, end="", flush=True)
            if _PAGE_IS_UP in line:
                page.terminate()
    return page.returncode


if __name__ == "__main__":
    sys.exit(run_small(sys.argv[1], sys.argv[2:]))
