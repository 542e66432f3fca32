"""Rebuild: refill read models from the events, beside the live ones, then change in these what differs.

1. Replay into the schema NAME_rebuild, a chunk a transaction. What was interrupted goes on where it stopped,
   unless a file, or the ledger's schema, has changed meanwhile: then it starts over.
2. In one transaction, under the lock of the live progress: fold the rest, up to exactly the live position;
   delete, update and insert the rows that differ; take over functions and views of files that changed; drop
   the copy. Readers see all of it or nothing.

Where tables are no longer what their file makes, or their rows cannot be changed one by one, the copy's
tables take their place instead.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import Connection, sql
from psycopg.rows import DictRow

from audit_ledger.errors import InvalidValue, LedgerBusy, WrongRole
from audit_ledger.settings import Settings
from audit_ledger.store import migrations, takeover
from audit_ledger.store.connecting import configure, connect
from audit_ledger.store.copies import Copy, Tell, silent
from audit_ledger.store.database import Database
from audit_ledger.store.projections import CHUNK
from audit_ledger.store.refusals import translated
from audit_ledger.store.sql import SqlFile, projection_files, schema_files
from audit_ledger.store.takeover import Change
from audit_ledger.store.views import act_as, drop_views, install_views

PATIENCE = 500
"""Milliseconds for which the last step waits for a lock before it lets go of all and tries again: less than
it takes PostgreSQL to find that two wait for each other, so that it is never a reader who is ended."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        position: How far the read models were.
        resumed_at: Position at which an earlier rebuild had been interrupted; 0 where there was none.
        swapped: Whether the tables were replaced as a whole; their rows all count as inserted then.
        changes: What was done to each table.
    """

    position: int
    resumed_at: int
    swapped: bool
    changes: list[Change]


def rebuild(url: str, settings: Settings, only: str | None = None, tell: Tell = silent) -> Rebuilt:
    """Refill the read models from the events.

    Args:
        url: URL of an administrator of the database, as for `init`.
        settings: Name of the ledger, and time-outs.
        only: One projection, whose tables alone are changed; all of them by default. Where other events were
            set aside than would be now, all are changed all the same: an event is set aside for all.
        tell: Is told now and then how far folding is, and how far it goes, as positions.

    Raises:
        InvalidValue: there is no such projection.
        NotInitialised, SchemaMismatch: the ledger is not one of this software.
        WrongRole: the role may not act as the projector, or not make schemas.
        LedgerBusy: somebody else rebuilds, or the read models cannot be locked.
    """
    files = projection_files()
    names = [file.name for file in files]
    if only is not None and only not in names:
        raise InvalidValue("read model", expected=f"one of {', '.join(names)}", actual=repr(only))
    try:
        with (
            Database(url, settings.name, settings) as database,
            translated(database),
            connect(url, settings) as conn,
        ):
            migrations.check(conn, settings.name)
            return _Rebuild(conn, settings, files).run([only] if only else names, tell)
    except WrongRole as error:
        if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
            raise _refused(settings.name, error.__cause__) from error
        raise


def _refused(name: str, error: psycopg.Error) -> WrongRole:
    return WrongRole(
        f"this role may not rebuild the read models of the ledger {name}",
        expected=f"a superuser, or a member of {name}_projector with CREATE on the database",
        actual=str(error).strip(),
        remedy="rebuild with the URL of an administrator, as for `audit-ledger init`",
    )


class _Rebuild:
    def __init__(self, conn: Connection[DictRow], settings: Settings, files: Sequence[SqlFile]) -> None:
        self.conn = conn
        self.settings = settings
        self.name = settings.name
        self.live = f"{settings.name}_read"
        self.copy = Copy(conn, f"{settings.name}_rebuild", files)
        configure(conn, settings.name, settings)

    def run(self, names: list[str], tell: Tell) -> Rebuilt:
        self._alone()
        with self.conn.transaction():
            resumed_at = self._prepare()
        self._replay(tell)
        with self._in_copy():
            self.copy.analyze()
        deadline = time.monotonic() + self.settings.lock_timeout
        piecemeal = True
        while True:
            try:
                with self.conn.transaction():
                    return self._take_over(names, resumed_at, piecemeal=piecemeal)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                if time.monotonic() > deadline:
                    raise self._busy("holds the read models", "it again") from error
                time.sleep(PATIENCE / 5000)
                self._replay(tell)
            except psycopg.errors.IntegrityError:
                if not piecemeal:
                    raise
                # Two rows that exchange a unique value, a parent that goes before its child changes.
                piecemeal = False

    def _alone(self) -> None:
        """Let nobody else rebuild until this connection ends; a server ends what a killed one did."""
        try:
            self.conn.execute(
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"audit-ledger rebuild {self.name}"]
            )
        except psycopg.errors.LockNotAvailable as error:
            raise self._busy("rebuilds the read models", "it once that has ended") from error

    def _busy(self, doing: str, again: str) -> LedgerBusy:
        return LedgerBusy(
            f"another session {doing}",
            expected=f"to have the lock of {self.name} within {self.settings.lock_timeout:g} s",
            actual="still held",
            remedy=f"run {again}; what was folded is kept",
        )

    @contextmanager
    def _in_copy(self) -> Iterator[None]:
        """A transaction as the projector, in the copy."""
        with self.conn.transaction():
            self._look_into(self.copy.schema)
            yield

    def _look_into(self, schema: str) -> None:
        with self.conn.cursor() as cursor:
            act_as(cursor, self.name, "projector")
        self.conn.execute(
            sql.SQL("SET LOCAL search_path = {}, {}, pg_temp").format(
                sql.Identifier(schema), sql.Identifier(self.name)
            )
        )

    # Replay

    def _prepare(self) -> int:
        """Make the copy, unless one is there that can go on; returns the position at which it stands."""
        made_by = f"A rebuild by the schema {schema_files()[-1].name} {schema_files()[-1].sha256}."
        there = self.conn.execute(
            "SELECT obj_description(oid, 'pg_namespace') AS made_by FROM pg_namespace WHERE nspname = %s",
            [self.copy.schema],
        ).fetchone()
        schema = sql.Identifier(self.copy.schema)
        projector = sql.Identifier(f"{self.name}_projector")
        if there is not None:
            if there["made_by"] == made_by:
                self._look_into(self.copy.schema)
                progress = self.conn.execute(
                    "SELECT projection, sha256, min(position) OVER () AS position FROM progress"
                ).fetchall()
                ours = {(file.name, file.sha256) for file in self.copy.files}
                same = {(row["projection"], row["sha256"]) for row in progress} == ours
                if same and progress[0]["position"] <= self._live_position():
                    return int(progress[0]["position"])
            self._look_into(self.copy.schema)
            self.conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))
            self.conn.execute("RESET ROLE")
        self.conn.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, projector))
        self._look_into(self.copy.schema)
        self.conn.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(made_by)),
        )
        self.copy.make()
        self._log(to="UNLOGGED")
        return 0

    def _log(self, *, to: Literal["LOGGED", "UNLOGGED"]) -> None:
        """Whether the copy's tables are written to the write-ahead log.

        While they are filled they are not: should the server crash, they are empty and begin anew.
        """
        tables = [table for file in self.copy.files for table in file.tables]
        # A logged table may not refer to one that is not.
        ordered = tables if to == "LOGGED" else [*reversed(tables), "progress", "set_aside"]
        for table in ordered:
            self.conn.execute(
                sql.SQL(f"ALTER TABLE {{}} SET {to}").format(sql.Identifier(self.copy.schema, table))
            )

    def _replay(self, tell: Tell) -> None:
        """Fold until no more than a chunk is missing that the live read models have."""
        while True:
            with self._in_copy():
                upto = self._live_position()
                position = self.copy.fold_chunk(upto)
            tell(position, upto)
            if position + CHUNK > upto:
                return

    def _live_position(self) -> int:
        row = self.conn.execute(
            sql.SQL("SELECT max(position) AS position FROM {}").format(sql.Identifier(self.live, "progress"))
        ).fetchone()
        return int(row["position"] or 0) if row else 0

    # Taking over

    def _take_over(self, names: list[str], resumed_at: int, *, piecemeal: bool) -> Rebuilt:
        with self.conn.cursor() as cursor:
            cursor.execute(migrations.LOCK, [f"audit-ledger init {self.name}"])
            act_as(cursor, self.name, "projector")
        self.conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(PATIENCE)))
        before = self.conn.execute(
            "SELECT projection, position, sha256 FROM progress ORDER BY ordinal FOR UPDATE"
        ).fetchall()
        position = max((row["position"] for row in before), default=0)
        self._look_into(self.copy.schema)
        self.copy.fold(position)
        tables = self.copy.tables()
        swapped = not (piecemeal and takeover.same_shape(self.conn, self.copy, self.live))
        if swapped or takeover.other_set_aside(self.conn, self.copy, self.live):
            names = [file.name for file in self.copy.files]
        if swapped:
            self._log(to="LOGGED")
            changes = takeover.swap(self.conn, self.copy, self.live)
        else:
            chosen = [
                tables[table] for file in self.copy.files if file.name in names for table in file.tables
            ]
            changes = takeover.apply(self.conn, self.copy, self.live, chosen)
        with self.conn.cursor() as cursor:
            self._renew(cursor, names, {row["projection"]: row["sha256"] for row in before}, swapped=swapped)
            cursor.execute(
                "UPDATE progress SET position = %s, updated_at = clock_timestamp()"
                " WHERE projection = ANY (%s) AND position <> %s",
                [position, names, position],
            )
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(self.copy.schema)))
        return Rebuilt(position, resumed_at, swapped, changes)

    def _renew(
        self, cursor: migrations.Cursor, names: list[str], before: dict[str, str], *, swapped: bool
    ) -> None:
        """Take over the functions and views of files that changed; of all, where tables were swapped."""
        act_as(cursor, self.name, "projector")
        changed = [
            (ordinal, file)
            for ordinal, file in enumerate(self.copy.files)
            if file.name in names and (swapped or before.get(file.name) != file.sha256)
        ]
        for ordinal, file in changed:
            migrations.install_functions(cursor, file, ordinal)
        if changed:
            drop_views(cursor, self.name, self.copy.files)
            install_views(cursor, self.name, self.copy.files)
