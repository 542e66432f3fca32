"""What ledger.toml says of tasks, channels, maintenance windows and anchors.

    plan = load_plan()
    plan.task("data_fetch:congress_daily").grace    # what [watch] says, where the file does not name the task

values.py has the forms of durations, time zones, schedules and quiet hours; models.py the tables; loading.py
reads the file and says what is wrong with it.
"""

from audit_ledger.plan.anchors import Anchors, Authority
from audit_ledger.plan.loading import Problem, examine, load_anchors, load_plan
from audit_ledger.plan.models import Channel, Maintenance, Overlap, Plan, Severity, Task, Watch

__all__ = [
    "Anchors",
    "Authority",
    "Channel",
    "Maintenance",
    "Overlap",
    "Plan",
    "Problem",
    "Severity",
    "Task",
    "Watch",
    "examine",
    "load_anchors",
    "load_plan",
]
