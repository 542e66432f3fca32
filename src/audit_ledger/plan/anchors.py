"""What ledger.toml says of anchors: where checkpoints go, who timestamps them, how often, and the keys."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StrictStr, field_validator, model_validator

from audit_ledger.plan.table import Table
from audit_ledger.plan.values import Duration, Listed, Unfit

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+", re.ASCII)


class Authority(Table):
    """A timestamping authority of RFC 3161: [[anchors.timestamps]]."""

    name: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")] = Field(
        description="its name in file names and lists: letters, digits, - and _"
    )
    url: StrictStr = Field(description="where it answers: an http or https URL")
    certificate: Path = Field(
        description="its certificates, PEM: the root, and intermediates; relative to ledger.toml"
    )
    policy: StrictStr | None = Field(None, description="the policy that its timestamps must be under: an OID")

    @field_validator("url")
    @classmethod
    def _over_http(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
            raise Unfit("an http or https URL")
        return url

    @field_validator("policy")
    @classmethod
    def _an_oid(cls, policy: str | None) -> str | None:
        if policy is not None and not _OID.fullmatch(policy):
            raise Unfit("an object identifier, e.g. 1.3.6.1.4.1.4146.2.3")
        return policy


class Anchors(Table):
    """The table [anchors].

    Paths are absolute once they are loaded.
    """

    folders: Annotated[tuple[Path, ...], Listed] = Field(
        (), description="where checkpoints are written to; relative to ledger.toml"
    )
    keys: Path | None = Field(
        None,
        description="file with the ledger's verifier keys, one a line, which checkpoints must be signed by;"
        " relative to ledger.toml",
    )
    every: Duration = Field(
        timedelta(hours=1), description="`seal` anchors the last checkpoint once so often"
    )
    every_events: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        None, description="and once so many events were sealed that are not anchored"
    )
    timestamps: tuple[Authority, ...] = Field(
        (), description="timestamping authorities; two are better than one"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.folders and self.keys is None:
            raise Unfit(
                "keys, the file with the ledger's verifier keys, where there are folders",
                "write the verifier key of audit-ledger key list into a file, and name it: keys = …",
            )
        names = [authority.name for authority in self.timestamps]
        if len(set(names)) != len(names):
            raise Unfit("timestamping authorities of different names", "rename one of [[anchors.timestamps]]")
        if len(set(self.folders)) != len(self.folders):
            raise Unfit("folders that are not the same", "leave one out")
        return self

    @property
    def places(self) -> list[tuple[str, str]]:
        """Where checkpoints are to go: kind and name, as the table `anchors` has them."""
        return [
            *(("folder", str(folder)) for folder in self.folders),
            *(("timestamp", authority.name) for authority in self.timestamps),
        ]
