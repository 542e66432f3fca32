"""Record the committees of Congress and their members' profiles; needs PROPUBLICA_API_KEY.

Both are as of today: neither has a date that --since could go by, and all of them come each time.
"""

from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field

from audit_ledger import Ledger, Run
from command_line import key, main
from recorded_api import Api

CONGRESS = "119"  # 2025 and 2026
Id = Annotated[str, Field(pattern=r"^\w+$")]


class Member(BaseModel, extra="allow", strict=True):
    """A member of Congress: a name in a committee's list, or a whole profile."""

    bioguide: Id


class Listed(BaseModel, extra="allow", strict=True):
    """A committee, as its chamber lists it. What is not named here is kept, too."""

    thomas_id: Id
    name: str


class Committee(Listed):
    """A committee with its members."""

    members: list[Member]


def fetch(ledger: Ledger, base_url: str, since: date | None) -> Run:  # noqa: ARG001
    """Record one fetch. All of it is there and checked before the first record is ingested."""
    with ledger.run("data_fetch:committees_daily", "propublica_committees") as run:
        api = Api(run, f"{base_url}/congress/v1", {"X-API-Key": key("PROPUBLICA_API_KEY")})
        committees = {
            listed.thomas_id: api.get(f"{place}/{listed.thomas_id}.json", Committee, "results", 0)
            for place in (f"/{CONGRESS}/{chamber}/committees" for chamber in ("house", "senate", "joint"))
            for listed in api.get(f"{place}.json", list[Listed], "results", 0, "committees")
        }
        ids = sorted({member.bioguide for one in committees.values() for member in one.members})
        profiles = {one: api.get(f"/members/{one}.json", Member, "results", 0) for one in ids}
        run.ingest_snapshot("Committee", committees)  # all there are: what is missing is withdrawn
        run.ingest_snapshot("PoliticianProfile", profiles)
        run.counts(fetched=len(committees) + len(profiles))
    return run


if __name__ == "__main__":
    main("Committees", fetch, base_url="https://api.propublica.org")
