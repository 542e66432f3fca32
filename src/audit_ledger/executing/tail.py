"""The end of what a command printed, as a failed run keeps it: a few KiB, without secrets."""

import threading

from audit_ledger.canonical import storable
from audit_ledger.redaction import Redactor

KEPT_BYTES = 64 << 10
"""So much is kept while the command runs: a secret must be seen whole to be cut out."""

SHOWN = 4000
"""So many characters of it are recorded, the last ones."""


class Tail:
    """Takes output in, from several threads, and forgets all but its end."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._forgot = False
        self._lock = threading.Lock()

    def add(self, output: bytes) -> None:
        """Take output in."""
        with self._lock:
            self._kept += output[-KEPT_BYTES:]
            self._forgot |= len(output) > KEPT_BYTES
            if len(self._kept) > KEPT_BYTES:
                del self._kept[:-KEPT_BYTES]
                self._forgot = True

    def shown(self, redactor: Redactor) -> str | None:
        """Its last characters, secrets cut out; None where nothing was printed.

        What is no UTF-8 is replaced. Where something was forgotten, it begins with a whole line if it can:
        half of a secret at the cut would not be known for one.
        """
        with self._lock:
            text = self._kept.decode(errors="replace")
            forgot = self._forgot
        if forgot:
            text = text.partition("\n")[2] or text
        clean = redactor.redact_text(storable(text))
        if len(clean) > SHOWN:
            clean = clean[-SHOWN:]
            forgot = True
        clean = clean.strip("\n")
        return (f"…{clean}" if forgot else clean) if clean else None
