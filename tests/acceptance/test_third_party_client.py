"""The PyPI client of QuiverQuant, unchanged, talks to real data behind its own address, and all is on record.

It asks https://api.quiverquant.com. A proxy on loopback takes that to the server of the real data, dressed in
TLS with a certificate for that name: no more than the environment tells the client about either.
"""

import select
import socket
import socketserver
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import quiverquant
import trustme

from audit_ledger import Ledger
from tests.api_server import running
from tests.capturing import captured, capturing

HOST = "api.quiverquant.com"


class Tunnel(socketserver.ThreadingTCPServer):
    """An HTTP proxy that knows CONNECT (RFC 9110 section 9.3.6) and leads everywhere to one port."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnelling)
        self.port = port


class _Tunnelling(socketserver.StreamRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        assert self.rfile.readline().startswith(f"CONNECT {HOST}:443".encode())
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = {self.connection: upstream, upstream: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)


@pytest.fixture
def upstream(serve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    server = serve.Server(("127.0.0.1", 0), serve.Handler)
    server.state = serve.State(serve.Data(serve.HERE), "2020-05-04", 1000)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:
        stack.enter_context(running(server))
        tunnel = stack.enter_context(running(Tunnel(server.server_port)))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{tunnel.server_address[1]}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{tunnel.server_address[1]}")
        yield server


def test_every_call_of_the_quiverquant_client_is_on_record(
    ledger: Ledger, upstream: Any, admin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with capturing(ledger) as run:
        client = quiverquant.quiver("planted-token-4711")
        live = client.congress_trading()
        bulk = client.congress_trading(recent=False)
        one = client.congress_trading("AAPL")
        client.insiders()
    asked = [request["path"] for request in upstream.state.log]
    calls = captured(ledger)
    assert [call["asked"].removeprefix("GET ") for call in calls] == asked
    assert {call["endpoint"].partition("/")[0] for call in calls} == {HOST}
    assert [call["http_status_code"] for call in calls] == [
        request["status"] for request in upstream.state.log
    ]
    assert [len(call["bytes"]) for call in calls] == [request["bytes"] for request in upstream.state.log]
    assert [len(call["answer"]) for call in calls[:3]] == [len(live), len(bulk), len(one)]
    assert not any(call["capture_error"] for call in calls)
    assert ledger.find_run(run.id).calls.count() == len(asked) >= 4
    assert "planted-token-4711" not in str(
        admin.execute(
            "SELECT convert_from(content, 'UTF8') FROM bodies WHERE media_type LIKE 'message/%'"
        ).fetchall()
    )
    capsys.readouterr()  # the client prints its URLs
