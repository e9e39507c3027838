"""A real HTTP server on localhost that misbehaves on request, and a zoo of one tiny model."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdzoo.zoo import transfer

# An entry of an index; tests change what they are about.
ENTRY = dict(
    name="digits/tiny", architecture="resnet8", options=dict(widths=[4, 4, 4, 8]), data="Digits", classes=10,
    in_chans=1, mean=[0.3], std=[0.4], recipe="5 epochs", metrics=[dict(name="top1", value=50.0, protocol="test")],
    file="digits/tiny.safetensors", size=100, sha256="0" * 64, licence="Apache-2.0", sources=["package"],
)


@dataclass
class Server:
    """Paths and what happens there; every request is noted.

    ``files[path]`` is served with ranges, ``acts[path]`` is called with the handler instead.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    acts: dict[str, Callable] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range


def send(handler, body, status=200, **headers):
    handler.send_response(status)
    headers.setdefault("Content_Length", len(body))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def serve_range(handler, body, **headers):
    begins = handler.headers.get("Range")
    if begins is None:
        return send(handler, body, **headers)
    begin = int(begins.removeprefix("bytes=").removesuffix("-"))
    if begin >= len(body):
        return send(handler, b"", 416)
    stated = f"bytes {begin}-{len(body) - 1}/{len(body)}"
    send(handler, body[begin:], 206, Content_Range=stated, **headers)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv("KDZOO_OFFLINE", raising=False)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            known.requests.append((self.path, self.headers.get("Range")))
            if self.path in known.acts:
                known.acts[self.path](self)
            elif self.path in known.files:
                serve_range(self, known.files[self.path])
            else:
                send(self, b"<html>no such page</html>", 404, Content_Type="text/html")

        def log_message(self, *args):
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.handle_error = lambda request, address: None  # a client that hangs up is part of the tests
    known = Server(f"http://127.0.0.1:{service.server_address[1]}")
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield known
    service.shutdown()
    service.server_close()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
