"""Looking once: what is not well among the runs since an instant. It writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from audit_ledger.events import Kind
from audit_ledger.plan import Plan
from audit_ledger.store.database import Reader
from audit_ledger.watching.monitors import look
from audit_ledger.watching.state import histories, tasks_on_record


@dataclass(frozen=True)
class Checked:
    """Something that somebody on call should look at.

    Attributes:
        kind: What it is (watching.findings); "none": no run at all has started; "refused": the ledger refuses
            events; "outside": checkpoints that are kept elsewhere cannot be compared.
        detail: What is the matter, in words.
        task: The task.
        run_id: The run, where it is about one.
        scheduled_for: When the run was due that was missed.
        endpoint: The endpoint, where it is about one.
    """

    kind: Kind | Literal["none", "refused", "outside"]
    detail: str
    task: str | None = None
    run_id: UUID | None = None
    scheduled_for: datetime | None = None
    endpoint: str | None = None


def check(reader: Reader, plan: Plan, since: datetime) -> list[Checked]:
    """What is not well among the runs that started since then, and the slots since then, by task.

    Args:
        reader: The ledger, as it is or as it was.
        plan: What ledger.toml says of tasks; it holds for all the time since.
        since: From when on.
    """
    names = sorted({*plan.tasks, *tasks_on_record(reader)})
    (row,) = reader.query("SELECT recorded_at FROM events WHERE position = 1") or [
        {"recorded_at": reader.now}
    ]
    # A ledger is not asked about what was due before it was there.
    begin = max(since, row["recorded_at"])
    seen = histories(
        reader, plan, names, now=reader.now, since=since, slots_since=dict.fromkeys(names, begin)
    )
    found = [
        Checked(one.kind, one.detail, one.task, one.run_id, one.scheduled_for, one.endpoint)
        for history in seen
        for one in look(history)
    ]
    if not found and not any(history.fresh for history in seen):
        found.append(Checked("none", "no run has started"))
    return found
