"""What is recorded: invented trades of the shape that the fetch scripts handle."""

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from audit_ledger.events import RecordIngested

DICE = random.Random(20251224)  # the same data every time
NOW = datetime(2025, 12, 24, 14, tzinfo=UTC)
RECORD_TYPE = "QuiverTrade"
TICKERS = ("AAPL", "BRK.B", "CVX", "MSFT", "NVDA", "XOM")
RANGES = ("$1,001 - $15,000", "$15,001 - $50,000", "$50,001 - $100,000")


def commitment() -> str:
    """Something that looks like the commitment of a body: 43 characters that nobody can compress."""
    return base64.urlsafe_b64encode(DICE.randbytes(32)).decode().rstrip("=")


def record_id(number: int) -> str:
    """The id of a trade: the number of its filing, and its line."""
    return f"{20_000_000 + number // 20}:{number % 20}"


def records(count: int) -> list[RecordIngested]:
    """Records with commitments, as `run.ingest` makes them; about 160 bytes of state each."""
    return [
        RecordIngested.of(
            content=commitment(),
            occurred_at=NOW + timedelta(milliseconds=number),
            record_id=record_id(number),
            record_type=RECORD_TYPE,
        )
        for number in range(count)
    ]


def trades(count: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Ids and contents of trades, made one at a time."""
    for number in range(count):
        yield (
            record_id(number),
            {
                "BioGuideID": f"X{number % 1000:06d}",
                "House": "Senate" if number % 5 else "Representatives",
                "Line": number % 20,
                "Party": "D" if number % 2 else "R",
                "Range": RANGES[number % len(RANGES)],
                "ReportDate": f"2025-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
                "Representative": f"Example Member {number % 1000}",
                "Ticker": TICKERS[number % len(TICKERS)],
                "Transaction": "Purchase" if number % 3 else "Sale",
                "TransactionDate": f"2025-{number % 12 + 1:02d}-{number % 27 + 1:02d}",
            },
        )
