"""The server: gradio's, with the clips of the gallery beside it, and without a connection to anybody else."""

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from modeling_raclap.handler import LIMITS
from raclap.errors import RaClapError
from raclap.page.look import CSS, theme
from raclap.page.markup import CLIPS_AT


def serve(
    build: Callable[[], gr.Blocks],
    clips: Sequence[Path],
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
) -> None:
    """Serves the page until it is interrupted.

    Uploads lie in a private folder, which is removed at the end.

    Args:
        build: makes the page, once it is settled where uploads lie.
        clips: of the gallery, by number: no other file can be asked for.
        host: name or address to listen at; None: `GRADIO_SERVER_NAME`, else this machine alone.
        port: None: `GRADIO_SERVER_PORT`, else the first that is free from 7860 on.
        share: also make a public address, through a server of gradio's makers.

    Raises:
        RaClapError: the port is taken, or there is no such host.
    """
    if host is not None:
        _check_host(host)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="raclap-uploads-") as uploads:
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "False"}
        page = build()
        try:
            _, address, public = page.launch(
                server_name=host, server_port=port, share=share, max_file_size=LIMITS.audio_bytes,
                app_kwargs={"routes": [_clip_route(clips)]}, theme=theme(), css=CSS, footer_links=[],
                prevent_thread_lock=True, quiet=True, ssr_mode=False, mcp_server=False, enable_monitoring=False,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise RaClapError(f"the page cannot be served: {error}") from error
        print(f"the page is at {address}" + (f" and at {public}" if public else ""), flush=True)
        threading.Event().wait()


def _check_host(host: str) -> None:
    """Finds out at once what gradio would try a hundred ports for."""
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise RaClapError(f"the page cannot be served at {host}: {error.strerror}") from error


def _clip_route(clips: Sequence[Path]) -> Route:
    def clip(request: Request) -> FileResponse:
        number = request.path_params["number"]
        if number >= len(clips) or not clips[number].is_file():
            raise HTTPException(404)
        return FileResponse(clips[number])

    return Route(f"/{CLIPS_AT}/{{number:int}}", clip)
