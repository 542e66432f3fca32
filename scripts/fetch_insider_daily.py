"""Record what company insiders traded (SEC Form 4); needs QUIVER_API_KEY. --since: by fileDate."""

import json
from datetime import date, datetime
from hashlib import sha256

from pydantic import BaseModel

from audit_ledger import Ledger, Run
from command_line import key, main
from recorded_api import Api, FetchError


class InsiderTrade(BaseModel, extra="allow", strict=True, allow_inf_nan=False):
    """A transaction, in upstream's words; what is not named here is kept, too."""

    Ticker: str
    Company: str
    Name: str
    officerTitle: str  # noqa: N815
    Date: date
    fileDate: datetime  # noqa: N815
    TransactionCode: str
    AcquiredDisposedCode: str
    Shares: float
    PricePerShare: float
    SharesOwnedFollowing: float

    @property
    def id(self) -> str:
        """Upstream gives none, and no field alone identifies a row: a digest of those above does."""
        named = self.model_dump(mode="json", include=set(InsiderTrade.model_fields))
        return sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]


def fetch(ledger: Ledger, base_url: str, since: date | None) -> Run:
    """Record one fetch. Every row of it is checked before the first is ingested."""
    parameters = {"since": since}
    with ledger.run("data_fetch:insider_daily", "quiverquant_insider", parameters=parameters) as run:
        api = Api(run, base_url, {"Authorization": f"Bearer {key('QUIVER_API_KEY')}"})
        filed = api.get("/beta/live/insiders", list[InsiderTrade])
        if not filed:
            raise FetchError("GET /beta/live/insiders answered with no transactions at all")
        trades = [trade for trade in filed if not since or trade.fileDate.date() >= since]
        days = [trade.fileDate.date() for trade in trades]
        run.ingest_many("InsiderTrade", ((trade.id, trade) for trade in trades))
        run.date_range(min(days, default=None), max(days, default=None))
        run.counts(fetched=len(trades))
    return run


if __name__ == "__main__":
    main("Insider", fetch, base_url="https://api.quiverquant.com")
