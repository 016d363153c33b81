"""Runs Python programs in forks of a process that has the heavy libraries loaded already.

    python server.py SOCKET MODULE ...

A program begins as it would in a process of its own: with its arguments, folder, environment and streams, and a
namespace that is empty. It saves the seconds that importing torch and transformers takes, for every command.

`torch.compile` takes the graph of a model and runs that: C++ that is made of it takes minutes to compile.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

_LENGTH = 8


def receive(connection: socket.socket) -> tuple[dict, list[int]]:
    """One request: a length, JSON, and the three standard streams."""
    head, streams, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    length, body = int(head), b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return json.loads(body), streams


def serve(path: str) -> Callable[[], None]:
    """Answers requests for ever; returns in a fork alone, with the program that it is to run."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those end that look after a program
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams = receive(connection)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for stream, number in zip(streams, range(3), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    return lambda: run(request["program"], request["arguments"])


def run(program: str, arguments: list[str]) -> None:
    """A script, `raclap`, or `accelerate launch` of a script in this process."""
    sys.argv = [program, *arguments]
    if program == "raclap":
        from raclap.cli import main

        main()
    elif program == "accelerate":
        launch(arguments)
    else:
        sys.path.insert(0, str(Path(program).resolve().parent))
        runpy.run_path(program, run_name="__main__")


def launch(arguments: list[str]) -> None:
    """`accelerate launch` on the CPU, whatever it is asked for; its options are parsed by Accelerate itself."""
    from accelerate.commands.launch import launch_command_parser

    command, *rest = arguments
    assert command == "launch", f"accelerate {command}: only launch is known here"
    parsed = launch_command_parser().parse_args(rest)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    run(parsed.training_script, parsed.training_script_args)


def status_of(program: Callable[[], None]) -> int:
    """Runs a program to its end → its exit status; what it does not catch is printed as Python prints it."""
    try:
        program()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Loads what is named, then serves."""
    status = 0

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    # What is registered first runs last: everything has ended then, and taking down the libraries would take seconds.
    atexit.register(leave)
    _, path, *modules = sys.argv
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(module)
    torch = sys.modules["torch"]
    torch.compile = functools.partial(torch.compile, backend="eager")
    gc.freeze()  # a collection in a fork would copy every page of the libraries
    status = status_of(serve(path))


if __name__ == "__main__":
    main()
