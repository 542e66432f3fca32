"""A client that is imported once capture is on is recorded as any other, wherever it is imported."""

import subprocess
import sys

import pytest

from audit_ledger import Ledger
from tests.api_server import ApiServer

SCRIPT = """
import sys, threading
import audit_ledger
ledger = audit_ledger.connect()
assert not {"requests", "httpx"} & sys.modules.keys()
with ledger.run("t", "s", capture=True):
    def call():
        import CLIENT
        assert CLIENT.get(sys.argv[1]).status_code == 200
    if sys.argv[2] == "thread":
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    else:
        call()
"""


@pytest.mark.parametrize("client", ["requests", "httpx"])
@pytest.mark.parametrize("where", ["thread", "here"])
def test_a_client_that_is_imported_in_a_run_is_recorded(
    client: str, where: str, url: str, ledger: Ledger, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LEDGER_URL", url)
    script = [sys.executable, "-c", SCRIPT.replace("CLIENT", client), f"{api.url}/rows", where]
    ran = subprocess.run(script, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert [call.http_status_code for call in ledger.calls] == [200]
