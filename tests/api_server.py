"""An HTTP server of the tests' own, which answers as awkwardly as it is asked to.

Each path names what comes back; what was asked is in `asked`. `start(tls=…)` serves HTTPS.
"""

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli

ROWS = [{"Ticker": "NVDA", "Line": number, "Name": "José"} for number in range(20)]
DEEP = b"[" * 10_000 + b"]" * 10_000
MEBIBYTE = bytes(range(256)) * 4096


@dataclass(frozen=True)
class Asked:
    """A request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What comes back."""

    content: bytes = b""
    media_type: str | None = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None


def rows() -> Answer:
    return Answer(json.dumps(ROWS, ensure_ascii=False).encode(), headers={"X-RateLimit-Remaining": "41"})


def bomb() -> Answer:
    """A kibibyte or so that becomes 64 MiB."""
    return Answer(gzip.compress(bytes(64 << 20)), headers={"Content-Encoding": "gzip"})


def chunked(*chunks: bytes) -> Answer:
    return Answer(chunks=iter(chunks))


def gibibyte() -> Answer:
    return Answer(media_type="application/octet-stream", chunks=(MEBIBYTE for _ in range(1024)))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "/rows": rows,
    "/empty": Answer,
    "/none": lambda: Answer(status=204, media_type=None),
    "/empty-chunked": chunked,
    "/chunked": lambda: chunked(b'{"a":', b"1}"),
    "/latin1": lambda: Answer("José".encode("latin-1"), "text/plain; charset=utf-8"),
    "/no-json": lambda: Answer(b'{"a": '),
    "/deep": lambda: Answer(DEEP),
    "/binary": lambda: Answer(bytes(range(256)), "image/png"),
    "/untyped": lambda: Answer(b'{"a":1}', None),
    "/gzip": lambda: Answer(gzip.compress(rows().content), headers={"Content-Encoding": "gzip"}),
    "/br": lambda: Answer(brotli.compress(rows().content), headers={"Content-Encoding": "br"}),
    "/broken-gzip": lambda: Answer(b"no gzip at all", headers={"Content-Encoding": "gzip"}),
    "/bomb": bomb,
    "/gibibyte": gibibyte,
    "/redirect": lambda: Answer(b"moved", "text/plain", 302, {"Location": "/rows?page=2"}),
    "/away": lambda: Answer(b'{"error":"away"}', status=503, headers={"Retry-After": "0"}),
    "/gone": lambda: Answer(b'{"error":"gone"}', status=404),
}


class ApiServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        asked: What was asked so far.
        away: So many requests from now on are answered 503.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.away = 0
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"

    @property
    def url(self) -> str:
        """Where it is, by number."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ApiServer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _any(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), self._body()))
        if path == "/drop":
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if path == "/slow":
            time.sleep(1)
        if self.server.away:
            self.server.away -= 1
            path = "/away"
        if path == "/echo":
            self._answer(Answer(self.server.asked[-1].body, self.headers.get("Content-Type")))
        elif path == "/truncated":
            self._answer(Answer(b'{"a":1,', headers={"Content-Length": "100"}))
            self.close_connection = True
        else:
            self._answer(ANSWERS.get(path, rows)())

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _any  # noqa: N815 - http.server's names

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {**answer.headers}
        if answer.media_type:
            headers["Content-Type"] = answer.media_type
        if answer.chunks is not None:
            headers["Transfer-Encoding"] = "chunked"
        elif answer.status != 204:
            headers.setdefault("Content-Length", str(len(answer.content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if answer.chunks is None:
            self.wfile.write(answer.content)
            return
        for chunk in answer.chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    """A running server."""
    with running(ApiServer(tls)) as server:
        yield server


@contextmanager
def running(server: Any) -> Iterator[Any]:
    """Any server of the standard library, while it serves."""
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
