"""The base of every table of ledger.toml."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Base of every table of ledger.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
