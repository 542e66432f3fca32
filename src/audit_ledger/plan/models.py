"""What ledger.toml says of tasks, channels, maintenance and anchors, as frozen models.

What `[watch]` says holds for every task, also for one that the file does not name, unless the task's own
table says otherwise.
"""

import os
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from cronsim import CronSim
from pydantic import (
    AwareDatetime,
    Field,
    SecretStr,
    StrictBool,
    field_validator,
    model_validator,
)

from audit_ledger.errors import ConfigurationError
from audit_ledger.events import Count, Name, Text
from audit_ledger.plan.anchors import Anchors
from audit_ledger.plan.table import Table
from audit_ledger.plan.values import (
    Duration,
    Listed,
    Quiet,
    QuietHours,
    Schedule,
    Share,
    Unfit,
    Zone,
    zone,
)

Overlap = Literal["allow", "skip", "fail"]
Severity = Literal["critical", "warning"]
Names = Annotated[tuple[Name, ...], Listed]


class Watch(Table):
    """The table [watch]: what holds for every task unless its own table says otherwise."""

    channels: Names = Field((), description="who is told: names of channels")
    owner: Text | None = Field(None, description="who looks after the task; in the log for ever")
    severity: Severity = Field("critical", description="how bad it is when something is wrong")
    timezone: Zone = Field("UTC", description="time zone of the schedule, of the IANA database")
    grace: Duration = Field(timedelta(minutes=15), description="how late a run may begin")
    overlap: Overlap = Field("allow", description="what `exec` does while another run of the task goes on")
    abandoned_after: Duration = Field(
        timedelta(minutes=10), description="a run without a sign of life for so long is abandoned"
    )
    resend_after: Duration | None = Field(
        None, description="tell again of an open alert that nobody has acknowledged, after so long"
    )
    max_api_error_rate: Share = Field(0.2, description="share of failed API calls of a run that is borne")
    min_rate_limit_remaining: Count = Field(
        10, description="an API that says that fewer calls remain is nearly used up"
    )
    slow_endpoint: Duration = Field(timedelta(seconds=5), description="an API call may take so long")

    @field_validator("abandoned_after", "resend_after", "slow_endpoint")
    @classmethod
    def _long_enough(cls, length: timedelta | None) -> timedelta | None:
        """What is looked at every few seconds cannot be over sooner."""
        if length is not None and length <= timedelta():
            raise Unfit("a duration of more than 0 seconds")
        return length


class Task(Watch):
    """A task: how it is watched. What its table does not say is what [watch] says."""

    name: Name
    schedule: Schedule | None = Field(None, description="when a run is due: a cron expression")
    source: Name | None = Field(None, description="where its data comes from")
    expected_duration: Duration | None = Field(None, description="a run that takes longer is overrunning")
    min_records: Count = Field(
        1, description="a completed run has at least so many records; 0: may have none"
    )
    max_records: Count | None = Field(None, description="a completed run has at most so many records")
    freshness: Duration | None = Field(None, description="the last completed run may have ended so long ago")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_records is not None and self.min_records > self.max_records:
            raise Unfit(
                f"min_records of at most max_records; they are {self.min_records:,} and {self.max_records:,}",
                "raise max_records, or lower min_records",
            )
        return self

    @property
    def zone(self) -> tzinfo:
        """The time zone of the schedule."""
        return zone(self.timezone)

    @property
    def definition(self) -> dict[str, Any]:
        """What the event TaskDefined holds: JSON, durations in seconds, without what is not set."""
        return {
            key: _plain(value)
            for key, value in self.model_dump(exclude={"name"}).items()
            if value is not None
        }

    @classmethod
    def of_definition(cls, name: str, definition: dict[str, Any]) -> Self:
        """The task that a TaskDefined defines; what this version of the software does not know is left out.

        Raises:
            pydantic.ValidationError: a value is not one that `definition` makes.
        """
        known = {key: value for key, value in definition.items() if key in cls.model_fields}
        return cls(**{**known, "name": name})


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    return list(value) if isinstance(value, tuple) else value


class Channel(Table):
    """A channel: where alerts are sent, when it is left in peace, and who is told where it fails."""

    places: ClassVar[tuple[str, ...]] = ("url", "url_env", "url_file")

    name: Name
    url: SecretStr | None = Field(None, description="an apprise URL; it may hold a password")
    url_env: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        None, description="the environment variable that holds the URL instead"
    )
    url_file: Path | None = Field(
        None, description="the file that holds the URL instead; relative to ledger.toml"
    )
    escalate_to: Name | None = Field(None, description="the channel that is told where this one fails")
    escalate_after: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        3, description="failed attempts until then"
    )
    quiet: Annotated[tuple[QuietHours, ...], Listed] = Field(
        (), description="when alerts wait: hours of every day, days of the week"
    )
    quiet_timezone: Zone = Field("UTC", description="time zone of `quiet`")
    quiet_critical: StrictBool = Field(True, description="whether critical alerts wait as well")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(getattr(self, place) is not None for place in self.places) != 1:
            raise Unfit("exactly one of url, url_env, url_file", "say where alerts are sent, once")
        if self.url is not None and not _is_url(self.url.get_secret_value()):
            raise Unfit('a url of apprise\'s, e.g. "mailto://…" or "json://host/path"')
        return self

    @model_validator(mode="after")
    def _sometimes_open(self) -> Self:
        if len({quiet.day for quiet in self.quiet if quiet.day is not None}) == 7 or _all_day(self.quiet):
            raise Unfit("quiet hours that end", "leave some hour of the week in which alerts go out")
        return self

    @property
    def quiet_zone(self) -> tzinfo:
        """The time zone of the quiet hours."""
        return zone(self.quiet_timezone)

    def secret_url(self) -> str:
        """The URL, from wherever it is; only for whoever sends.

        Raises:
            ConfigurationError: the environment variable or the file is not there, or holds no URL.
        """
        if self.url is not None:
            return self.url.get_secret_value()
        if self.url_env is not None:
            place, found = f"the environment variable {self.url_env}", os.environ.get(self.url_env, "")
        else:
            place = f"the file {self.url_file}"
            try:
                found = Path(str(self.url_file)).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"the URL of channel {self.name} cannot be read",
                    expected=f"an apprise URL in {place}",
                    actual=str(error) if isinstance(error, OSError) else "no text",
                    remedy="make the file readable for whoever runs this, or correct url_file",
                ) from error
        if not _is_url(found):
            raise ConfigurationError(
                f"the URL of channel {self.name} is missing",
                expected=f"an apprise URL in {place}",
                actual="something else, not shown" if found else "nothing",
                remedy="set it where audit-ledger runs",
            )
        return found


def _is_url(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    return bool(scheme and separator and rest)


def _all_day(quiet: tuple[Quiet, ...]) -> bool:
    """Whether hours of every day leave no minute of it."""
    minutes: set[int] = set()
    for hours in (hours for hours in quiet if hours.day is None):
        start, end = (60 * at.hour + at.minute for at in (hours.start, hours.end))
        minutes.update(range(start, end) if start < end else (*range(start, 1440), *range(end)))
    return len(minutes) == 1440


class Maintenance(Table):
    """A maintenance window: alerts of its tasks wait until it is over. Once, or by a schedule."""

    tasks: Names = Field(("*",), description="whose alerts wait: patterns such as `data_fetch:*`")
    start: AwareDatetime | None = Field(None, description="when it begins, once")
    end: AwareDatetime | None = Field(None, description="when it ends, once")
    schedule: Schedule | None = Field(None, description="when it begins, again and again")
    duration: Duration | None = Field(None, description="how long it then takes")
    timezone: Zone = Field("UTC", description="time zone of the schedule; of start and end without an offset")
    reason: Text | None = Field(None, description="what for")

    @model_validator(mode="before")
    @classmethod
    def _aware(cls, data: Any) -> Any:
        """A time without an offset is one of the table's time zone, if it names one."""
        if not isinstance(data, dict) or not isinstance(data.get("timezone"), str):
            return data
        try:
            where = zone(data["timezone"])
        except Unfit:
            return data  # said of the key itself
        naive = {
            key: value.replace(tzinfo=where)
            for key, value in data.items()
            if key in ("start", "end") and isinstance(value, datetime) and value.tzinfo is None
        }
        return {**data, **naive}

    @field_validator("start", "end", mode="before")
    @classmethod
    def _instant(cls, value: object) -> object:
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise Unfit(
                "a date and time with an offset, e.g. 2025-12-24T22:00:00-05:00",
                "add an offset or a timezone",
            )
        return value

    @model_validator(mode="after")
    def _once_or_again(self) -> Self:
        once, again = (self.start, self.end), (self.schedule, self.duration)
        if not ((None not in once and again == (None, None)) or (None not in again and once == (None, None))):
            raise Unfit("either start and end, or schedule and duration")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise Unfit(
                f"an end after the start; they are {self.end.isoformat()} and {self.start.isoformat()}"
            )
        return self

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.schedule is not None and self.duration is not None:
            if self.duration <= timedelta():
                raise Unfit("a duration of more than 0 seconds")
            begins = list(islice(CronSim(self.schedule, datetime(2000, 1, 1, tzinfo=UTC)), 400))
            if all(after - before <= self.duration for before, after in pairwise(begins)):
                raise Unfit(
                    "windows that end before the next one begins, sometimes at least",
                    "shorten the duration, or let it begin less often",
                )
        return self

    @property
    def zone(self) -> tzinfo:
        """The time zone of the schedule."""
        return zone(self.timezone)


class Plan(Table):
    """All of it. `tasks` are those that the file names; `task` answers for every name.

    Attributes:
        file: Where it was read; None where there is no file.
    """

    watch: Watch = Watch()
    tasks: dict[str, Task] = Field(default_factory=dict)
    channels: dict[str, Channel] = Field(default_factory=dict)
    maintenance: tuple[Maintenance, ...] = ()
    anchors: Anchors = Anchors()
    file: Path | None = None

    def task(self, name: str) -> Task:
        """The task of that name; of one that the file does not name, what [watch] says."""
        return self.tasks.get(name) or task_of(self.watch, name, {})


def task_of(watch: Watch, name: str, table: dict[str, Any]) -> Task:
    """The task of a table of the file.

    Raises:
        pydantic.ValidationError: a value cannot be used.
    """
    return Task(**{**watch.model_dump(), **table, "name": name})
