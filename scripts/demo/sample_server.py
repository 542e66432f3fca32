"""A small upstream for the demo, on loopback. All its data are invented, and say so.

    python scripts/demo/sample_server.py --port 8700 --day 2      (the URL is printed first)

It answers what the three fetch scripts ask, in the shapes of the real APIs, for any API key. On day 2
some records are new and some have changed. With --fail every answer is a maintenance page.
"""

import argparse
import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Row = dict[str, Any]
MAINTENANCE = b"<html><body>Sample upstream: down for maintenance</body></html>"
MEMBERS = {"X000001": "Sample Senator A", "X000002": "Sample Senator B", "X000003": "Sample Representative C"}
NEWCOMER = {"X000004": "Sample Representative D"}


def trades(day: int) -> list[Row]:
    """Trades of members of Congress. On day 2 one amount is corrected, and a filing is new."""

    def trade(filing: str, line: int, member: str, ticker: str, kind: str, amount: str, on: str) -> Row:
        return {
            "Representative": MEMBERS[member],
            "BioGuideID": member,
            "House": "Senate" if "Senator" in MEMBERS[member] else "Representatives",
            "ReportDate": on,
            "TransactionDate": "2025-11-14",
            "Ticker": ticker,
            "Description": f"Sample Company {ticker}",
            "Transaction": kind,
            "Range": amount,
            "Filing": f"https://filings.example/{filing}/",
            "Line": line,
        }

    small, large = "$1,001 - $15,000", "$15,001 - $50,000"
    rows = [
        trade("sample-filing-1", 0, "X000001", "SAMPL", "Purchase", small, "2025-12-01"),
        trade("sample-filing-1", 1, "X000001", "DEMO", "Sale (Full)", small, "2025-12-01"),
        trade(
            "sample-filing-2", 0, "X000002", "SAMPL", "Purchase", large if day > 1 else small, "2025-12-01"
        ),
        trade("sample-filing-3", 0, "X000003", "MOCK", "Sale (Partial)", large, "2025-12-02"),
    ]
    if day > 1:
        rows.append(trade("sample-filing-4", 0, "X000003", "DEMO", "Purchase", large, "2025-12-03"))
        rows.append(trade("sample-filing-4", 1, "X000003", "MOCK", "Purchase", small, "2025-12-03"))
    return rows


def transactions(day: int) -> list[Row]:
    """Transactions of company insiders. On day 2 one is new."""

    def transaction(name: str, ticker: str, shares: float, price: float, filed: str) -> Row:
        return {
            "Ticker": ticker,
            "Company": f"Sample Company {ticker}",
            "Name": name,
            "officerTitle": "Dir",
            "Date": "2025-11-28",
            "fileDate": filed,
            "TransactionCode": "P",
            "AcquiredDisposedCode": "A",
            "Shares": shares,
            "PricePerShare": price,
            "SharesOwnedFollowing": shares,
        }

    rows = [
        transaction("Sample Insider E", "SAMPL", 1200.0, 10.5, "2025-12-01T16:05:00"),
        transaction("Sample Insider F", "DEMO", 300.0, 99.25, "2025-12-02T17:30:00"),
    ]
    return [*rows, transaction("Sample Insider E", "MOCK", 50.0, 7.0, "2025-12-03T18:00:00")][: day + 1]


def committees(day: int) -> list[Row]:
    """Committees with their members. On day 2 a new member joins the joint one."""

    def committee(chamber: str, thomas_id: str, name: str, members: list[str]) -> Row:
        named = [
            {"bioguide": one, "name": (MEMBERS | NEWCOMER)[one], "rank": at}
            for at, one in enumerate(members, 1)
        ]
        return {"thomas_id": thomas_id, "type": chamber, "name": name, "members": named}

    joint = ["X000001", "X000003", *(NEWCOMER if day > 1 else ())]
    return [
        committee("house", "HSXX", "Sample House Committee on Examples", ["X000003"]),
        committee("senate", "SSXX", "Sample Senate Committee on Demonstrations", ["X000001", "X000002"]),
        committee("joint", "JSXX", "Sample Joint Committee on Mock-ups", joint),
    ]


def in_chamber(chamber: str, day: int) -> list[Row]:
    """The committees of one chamber."""
    return [row for row in committees(day) if row["type"] == chamber]


def profile(bioguide: str) -> Row:
    """A member of Congress."""
    name = (MEMBERS | NEWCOMER)[bioguide]
    return {
        "bioguide": bioguide,
        "name": {"official_full": name},
        "term": {"start": "2025-01-03", "state": "ZZ"},
    }


def answer(path: str, query: dict[str, list[str]], day: int) -> object:
    """What the API says at a path on a day; None where there is nothing."""
    match path.removesuffix(".json").strip("/").split("/"):
        case ["beta", "bulk", "congresstrading"]:
            page, size = int(query["page"][0]), int(query["page_size"][0])
            return trades(day)[(page - 1) * size : page * size]
        case ["beta", "live", "insiders"]:
            return transactions(day)
        case ["congress", "v1", "119", chamber, "committees"]:
            brief = [{"thomas_id": row["thomas_id"], "name": row["name"]} for row in in_chamber(chamber, day)]
            return {"status": "OK", "results": [{"chamber": chamber, "committees": brief}]}
        case ["congress", "v1", "119", chamber, "committees", wanted]:
            found = [row for row in in_chamber(chamber, day) if row["thomas_id"] == wanted]
            return {"status": "OK", "results": found} if found else None
        case ["congress", "v1", "members", wanted] if wanted in MEMBERS | NEWCOMER:
            return {"status": "OK", "results": [profile(wanted)]}
    return None


class Handler(BaseHTTPRequestHandler):
    """Answers GET with JSON."""

    server: "SampleServer"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer from the day's data; a maintenance page while the server is failing."""
        url, media_type = urlsplit(self.path), "application/json"
        if self.server.failing:
            status, body, media_type = 200, MAINTENANCE, "text/html"
        elif not (self.headers.get("Authorization") or self.headers.get("X-API-Key")):
            status, body = 401, b'{"error": "no API key"}'
        else:
            found = answer(url.path, parse_qs(url.query), self.server.day)
            status, body = (404 if found is None else 200), json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class SampleServer(ThreadingHTTPServer):
    """The server. `day` and `failing` may be set while it runs.

    Attributes:
        url: Where it is.
        day: Which day's data it serves: 1 or 2.
        failing: Whether each answer is a maintenance page, with status 200.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, day: int = 1, *, failing: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.day = day
        self.failing = failing


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve invented data in the shapes of the real APIs.")
    parser.add_argument("--port", type=int, default=8700, help="0: any free one")
    parser.add_argument("--day", type=int, choices=(1, 2), default=1)
    parser.add_argument("--fail", action="store_true", help="answer with a maintenance page")
    options = parser.parse_args()
    with SampleServer(options.port, options.day, failing=options.fail) as sample:
        print(sample.url, flush=True)
        with suppress(KeyboardInterrupt):
            sample.serve_forever()
