"""One run of a task at a time: a lock that a session of the database holds for as long as the run lasts.

The server lets go of it when the session ends, however it ends: after a kill -9, and after a power cut as
soon as the server notices. The session bears the run's id in its name, so that whoever finds the lock taken
can say by which run.
"""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from audit_ledger.settings import Settings
from audit_ledger.store.connecting import conninfo, unreachable

_NAME = "audit-ledger run "
_KEY = "hashtextextended(%(key)s, 0)"
_TAKE = f"SELECT pg_try_advisory_lock({_KEY}) AS taken"
_HOLDER = f"""
SELECT a.application_name AS name
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND (l.classid::bigint << 32 | l.objid::bigint) = {_KEY}
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class TaskLock:
    """The right to be the only run of a task, as far as others ask for it as well.

    Args:
        url: The ledger's database.
        settings: Its time-outs.
        ledger_id: The ledger.
        task: The task.
        run_id: The run that is to have it.

    Raises:
        Unreachable: the database does not answer.
    """

    def __init__(self, url: str, settings: Settings, ledger_id: UUID, task: str, run_id: UUID) -> None:
        self._key = {"key": f"audit-ledger task {ledger_id} {task}"}
        # Nothing is said for as long as the command runs; what stands between must not forget the session.
        info = make_conninfo(
            conninfo(url, settings), application_name=f"{_NAME}{run_id}", keepalives_idle="60"
        )
        try:
            self._conn = psycopg.connect(info, row_factory=dict_row, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(url, error) from error

    def take(self) -> UUID | None:
        """Take the lock; returns the id of the run that has it where that is another one.

        Raises:
            psycopg.Error: the database refused, or went away.
        """
        while True:
            row = self._conn.execute(_TAKE, self._key).fetchone()
            if row is not None and row["taken"]:
                return None
            holder = self._conn.execute(_HOLDER, self._key).fetchone()
            if holder is not None:  # else it has let go meanwhile
                return UUID(holder["name"].removeprefix(_NAME))

    def release(self) -> None:
        """Let go of it; the session ends."""
        self._conn.close()
