"""An HTTP server that treats `handler.py` as the public inference toolkit does, for tests: `toolkit_server.py FOLDER`.

What is imitated: the handler's file is loaded alone, by its path; audio/… arrives as bytes and JSON as it is; the
query becomes parameters; what the handler returns is sent with status 200; what it raises is logged and sent with
status 400. It prints its port when it can answer, and runs where neither this repository nor an installed copy can be
imported.
"""

import importlib.util
import json
import logging
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

ROOT = Path(__file__).parents[2]


def forget_the_repository() -> None:
    """Fails where the package can be imported all the same."""
    sys.path = [path for path in sys.path if "raclap" not in path and Path(path).resolve() != ROOT and path]
    sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
    for name in ("raclap", "modeling_raclap"):
        if importlib.util.find_spec(name) is not None:
            raise SystemExit(f"{name} can be imported: the test proves nothing")


def load_handler(folder: str) -> Any:
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", Path(folder) / "handler.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.EndpointHandler(folder)


def decoded(content_type: str, body: bytes) -> dict[str, Any]:
    if content_type.startswith("audio/"):
        return {"inputs": body}
    if content_type == "application/json":
        return json.loads(body)
    raise ValueError(f'Content type "{content_type}" not supported.')


def service(handler: Any) -> type[BaseHTTPRequestHandler]:
    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                data = decoded(self.headers["content-type"], self.rfile.read(int(self.headers["content-length"])))
                if "inputs" not in data:
                    raise ValueError("Body needs to provide a inputs key")
                query = dict(parse_qsl(urlsplit(self.path).query))
                if query and "parameters" not in data:
                    data["parameters"] = query
                status, answer = 200, json.dumps(handler(data), allow_nan=False)
            except Exception as error:
                logging.error(error)
                status, answer = 400, json.dumps({"error": str(error)})
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: Any) -> None:
            """As the toolkit, which switches the log of requests off."""

    return Service


if __name__ == "__main__":
    forget_the_repository()
    logging.basicConfig(level=logging.INFO)
    os.chdir("/")
    server = HTTPServer(("127.0.0.1", 0), service(load_handler(sys.argv[1])))
    print(server.server_port, flush=True)
    server.serve_forever()
