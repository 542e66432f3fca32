"""The API that the benchmark of capture calls: 2 kB of JSON at /rows, never the same at /new; /large/N is larger."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from tests.benchmarks.rows import RANGES, TICKERS, trades

ROWS = json.dumps([content for _, content in trades(8)]).encode()

SERIAL = count(10**9)


@cache
def large(number: int, size: int) -> bytes:
    """So many bytes of trades, the same for the same number."""
    dice = random.Random(number)
    rows: list[dict[str, object]] = []
    while len(rows) < size // 260:
        for _, content in trades(1):
            content |= {
                "Amount": dice.randrange(10**6) / 100,
                "BioGuideID": f"X{dice.randrange(10**6):06d}",
                "Line": dice.randrange(10**6),
                "Range": dice.choice(RANGES),
                "Ticker": dice.choice(TICKERS),
            }
            rows.append(content)
    return json.dumps(rows).encode().ljust(size)


@contextmanager
def serving(size: int = 0) -> Iterator[str]:
    """The API in a process of its own, with larger bodies of this size; its URL."""
    process = subprocess.Popen([sys.executable, "-m", __name__, str(size)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Handler(BaseHTTPRequestHandler):
    """Answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """What the path says."""
        _, _, number = self.path.partition("/large/")
        body = large(int(number), int(sys.argv[1])) if number else ROWS
        if self.path.startswith("/new"):
            body = ROWS.replace(b'"Line": 0', b'"Line": %d' % next(SERIAL))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-RateLimit-Remaining", "41")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
