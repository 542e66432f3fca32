"""A timestamping authority of the tests' own: a real HTTP server whose answers `openssl ts` makes.

Its root, and the certificate that it signs with, are made by openssl too. `answer` changes what it says.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

CONFIG = """
[tsa]
default_tsa = this
[this]
dir = .
serial = ./serial
crypto_device = builtin
signer_cert = ./tsa.pem
signer_key = ./tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.5
digests = sha256, sha384, sha512
ordering = no
tsa_name = yes
ess_cert_id_chain = no
"""


def openssl(folder: Path, *args: str, data: bytes | None = None) -> bytes:
    """What openssl says to that, in a folder."""
    done = subprocess.run(["openssl", *args], cwd=folder, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class TestAuthority:
    """An authority.

    Attributes:
        folder: Its files: root.pem is what is pinned.
        answer: Makes the response of a request, both DER; by default as it should be.
        status: The HTTP status of its answers.
        asked: How often it was asked.
    """

    __test__ = False

    def __init__(self, folder: Path, name: str = "TSA", days: int = 3650) -> None:
        folder.mkdir()
        self.folder = folder
        self.answer: Callable[[bytes], bytes] = self.respond
        self.status = 200
        self.asked = 0
        self.url = ""
        self._one_at_a_time = Lock()
        (folder / "ts.cnf").write_text(CONFIG)
        (folder / "serial").write_text("01\n")
        (folder / "tsa.ext").write_text(
            "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n"
        )
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        root = ("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-days", "3650")
        openssl(folder, *root, "-subj", f"/CN={name} root")
        openssl(folder, "req", "-new", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", f"/CN={name}")
        self.certify(days)

    @property
    def certificate(self) -> Path:
        """The certificate that is pinned."""
        return self.folder / "root.pem"

    def certify(self, days: int) -> None:
        """Certify its key anew, for so many days; a negative number: until so many days ago."""
        until = ["-days", str(days)]
        if days < 0:
            until = ["-not_before", "20200101000000Z", "-not_after", "20210101000000Z"]
            self._certify_by_ca(until)
            return
        signed = (
            "x509",
            "-req",
            "-in",
            "tsa.csr",
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
        )
        openssl(self.folder, *signed, "-out", "tsa.pem", *until, "-extfile", "tsa.ext")

    def _certify_by_ca(self, until: list[str]) -> None:
        (self.folder / "index.txt").write_text("")
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nserial=ca.serial\nnew_certs_dir=.\ndefault_md=sha256\n"
            "policy=p\ncopy_extensions=none\n[p]\ncommonName=supplied\n"
        )
        (self.folder / "ca.serial").write_text("10\n")
        until = ["-startdate", until[1], "-enddate", until[3]]
        openssl(
            self.folder,
            *(
                "ca",
                "-batch",
                "-config",
                "ca.cnf",
                "-cert",
                "root.pem",
                "-keyfile",
                "root.key",
                "-in",
                "tsa.csr",
            ),
            *("-out", "tsa.pem", "-notext", "-extfile", "tsa.ext", *until),
        )

    def respond(self, request: bytes) -> bytes:
        """The response that a request gets by rights."""
        with self._one_at_a_time:  # openssl counts in a file
            (self.folder / "request.tsq").write_bytes(request)
            return openssl(self.folder, "ts", "-reply", "-config", "ts.cnf", "-queryfile", "request.tsq")

    def timestamp(self, message: bytes, *options: str) -> bytes:
        """A response of its own about other bytes, or without a nonce."""
        (self.folder / "data").write_bytes(message)
        return self.respond(
            openssl(self.folder, "ts", "-query", "-data", "data", "-sha512", "-cert", *options)
        )

    def verify(self, message: Path, response: Path) -> str:
        """What openssl says of a response: `Verification: OK`."""
        args = ("ts", "-verify", "-data", str(message), "-in", str(response), "-CAfile", "root.pem")
        return openssl(self.folder, *args).decode()


@contextmanager
def serving(authority: TestAuthority) -> Iterator[TestAuthority]:
    """The authority, at its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            authority.asked += 1
            request = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            body = authority.answer(request) if authority.status == 200 else b"not now"
            self.send_response(authority.status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        authority.url = f"http://127.0.0.1:{server.server_port}/tsr"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield authority
        server.shutdown()
        thread.join()
