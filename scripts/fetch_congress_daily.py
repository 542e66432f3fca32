"""Record the trades that members of Congress reported; needs QUIVER_API_KEY. --since: by ReportDate."""

from collections.abc import Iterator
from datetime import date

from pydantic import BaseModel, Field

from audit_ledger import Ledger, Run
from command_line import key, main
from recorded_api import Api, FetchError


class QuiverTrade(BaseModel, extra="allow", strict=True):
    """A trade, in upstream's words; what is not named here is kept, too."""

    Representative: str
    BioGuideID: str
    ReportDate: date
    TransactionDate: date
    Ticker: str
    Transaction: str
    Range: str
    Filing: str = Field(pattern="[^/]/?$")
    Line: int

    @property
    def id(self) -> str:
        """What identifies a trade: the last part of its filing's address, and its line there."""
        return f"{self.Filing.strip('/').rpartition('/')[2]}-{self.Line}"


def reported(api: Api, path: str = "/beta/bulk/congresstrading", size: int = 1000) -> Iterator[QuiverTrade]:
    """All trades, page by page; the first page that is not full is the last."""
    for number in range(1, 10_000):
        page = api.get(path, list[QuiverTrade], page=number, page_size=size)
        if not page and number == 1:
            raise FetchError(f"GET {path} answered with no trades at all")
        if not page:  # the end, or a hiccup: ask again
            page = api.get(path, list[QuiverTrade], page=number, page_size=size)
        yield from page
        if len(page) < size:
            return


def fetch(ledger: Ledger, base_url: str, since: date | None) -> Run:
    """Record one fetch, checked before it is ingested; what a whole one lacks is withdrawn."""
    with ledger.run("data_fetch:congress_daily", "quiverquant_congress", parameters={"since": since}) as run:
        api = Api(run, base_url, {"Authorization": f"Bearer {key('QUIVER_API_KEY')}"})
        trades = [trade for trade in reported(api) if not since or trade.ReportDate >= since]
        days = [trade.ReportDate for trade in trades]
        ingest = run.ingest_many if since else run.ingest_snapshot
        ingest("QuiverTrade", ((trade.id, trade) for trade in trades))
        run.date_range(min(days, default=None), max(days, default=None))
        run.counts(fetched=len(trades))
    return run


if __name__ == "__main__":
    main("Congress", fetch, base_url="https://api.quiverquant.com")
