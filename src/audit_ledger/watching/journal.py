"""What watchers read of what watchers wrote: how far they looked, open incidents, whom to tell still."""

from collections.abc import Iterable
from datetime import datetime

from audit_ledger.store.database import Reader
from audit_ledger.watching.incidents import Incident
from audit_ledger.watching.outbox import Alert, Delivery, Outbox

OPEN = """
SELECT a.alert_id, a.kind, a.subject, a.run_id,
       coalesce((SELECT max(r.id) FROM findings f JOIN data_ingestion_runs r ON r.run_id = f.run_id
                  WHERE f.alert_id = a.alert_id), 0) AS last_run,
       (SELECT max(f.scheduled_for) FROM findings f WHERE f.alert_id = a.alert_id) AS last_slot
  FROM alerts a WHERE a.resolved_position IS NULL
"""

UNTOLD = """
SELECT a.alert_id, a.subject, a.severity, a.title, a.detail, a.channels, a.raised_at, a.owner, a.run_id,
       a.acknowledged_position IS NOT NULL AS acknowledged, a.resolved_reason AS resolved
  FROM alerts a
 WHERE a.resolved_position IS NULL
    OR EXISTS (SELECT FROM unnest(a.channels) AS c(name)
                WHERE NOT EXISTS (SELECT FROM alert_attempts t
                                   WHERE t.alert_id = a.alert_id AND t.channel = c.name
                                     AND t.status = 'delivered'
                                     AND (t.notice = 'resolved' OR t.ended_position > a.resolved_position)))
 ORDER BY a.id
"""
"""The alerts that are open, and those that somebody has yet to be told are over."""

ATTEMPTS = """
SELECT t.alert_id, t.channel, t.notice, max(t.attempt) AS attempts,
       count(*) FILTER (WHERE t.status = 'failed') AS failures,
       (array_agg(t.status ORDER BY t.attempt DESC))[1] = 'begun' AS unknown,
       max(t.ended_at) FILTER (WHERE t.status = 'delivered') AS delivered_at,
       coalesce(bool_or(t.status = 'delivered' AND t.ended_position > a.resolved_position), false)
           AS after_end,
       (array_agg(t.escalates ORDER BY t.attempt DESC))[1] AS escalates
  FROM alert_attempts t
  JOIN alerts a ON a.alert_id = t.alert_id
 WHERE t.alert_id = ANY (%(alerts)s::uuid[])
 GROUP BY t.alert_id, t.channel, t.notice
"""


def last_watch(reader: Reader) -> tuple[int, datetime] | None:
    """How far a watcher has looked, as a position, and when that was; None where none ever has."""
    rows = reader.query("SELECT upto_position, created_at FROM watches ORDER BY id DESC LIMIT 1")
    return (rows[0]["upto_position"], rows[0]["created_at"]) if rows else None


def incidents(reader: Reader) -> list[Incident]:
    """The alerts that are open."""
    return [Incident(**row) for row in reader.query(OPEN)]


def recall(reader: Reader, outbox: Outbox) -> None:
    """Tell an outbox what is on record: whom to tell still, and what was tried."""
    alerts = [Alert(**{**row, "channels": tuple(row["channels"])}) for row in reader.query(UNTOLD)]
    for alert in alerts:
        outbox.add(alert)
    for row in reader.query(ATTEMPTS, {"alerts": [alert.alert_id for alert in alerts]}) if alerts else ():
        named = (row.pop("alert_id"), row.pop("channel"), row.pop("notice"))
        outbox.recall(*named, Delivery(**row))


def known_keys(reader: Reader, keys: Iterable[str]) -> set[str]:
    """Which of these findings are on record."""
    rows = reader.query("SELECT DISTINCT key FROM findings WHERE key = ANY (%(keys)s)", {"keys": [*keys]})
    return {row["key"] for row in rows}
