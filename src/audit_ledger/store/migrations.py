"""`init`: make a ledger in a database, or bring one up to this software; `check`: is it fit for use?

A ledger NAME is three schemas, NAME (events, bodies), NAME_read (read models) and NAME_as_of (the same as of
an instant; `as_of` for the ledger that bears the default name), and six roles: NAME_owner, who migrates;
NAME_projector, who owns the read models; NAME_writer, NAME_reader, NAME_officer, a writer who may also
erase, hold and set the retention, and NAME_sealer, a reader who may also seal: the four that people and
scripts connect as, or are members of.
"""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from audit_ledger.errors import NotInitialised, SchemaMismatch, WrongRole
from audit_ledger.store.connecting import as_of_schema
from audit_ledger.store.refusals import gone
from audit_ledger.store.sql import SqlFile, file_names, projection_files, schema_files
from audit_ledger.store.views import act_as, install_views
from audit_ledger.version import VERSION

OLDEST_SERVER = 150000
"""PostgreSQL 15, as `server_version_num` counts."""


Cursor = psycopg.Cursor[dict[str, Any]]

SCHEMA = [
    "CREATE SCHEMA {schema} AUTHORIZATION {owner}",
    "SET LOCAL ROLE {owner}",
    "GRANT USAGE ON SCHEMA {schema} TO {reader}, {projector}",
    # Functions are for those to whom they are granted, not for everybody.
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "RESET ROLE",
]
"""How a schema is made."""

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
"""One at a time changes how a ledger is made."""


@dataclass(frozen=True)
class Ready:
    """What `check` found.

    Attributes:
        ledger_id: The ledger's identity.
        made_as: The identity that it was made with.
        user: The role that is connected.
        may_write: Whether it may append events here: it has the right, and this is no standby.
        may_govern: Whether it may also erase, hold and set the retention.
    """

    ledger_id: UUID
    made_as: UUID
    user: str
    may_write: bool
    may_govern: bool


def init(conn: psycopg.Connection[Any], name: str) -> list[str]:
    """Make the ledger, or bring it up to date; returns what was done, one line each.

    Idempotent, and safe when several call it at once.

    Args:
        conn: A connection that may create schemas and roles: a superuser's, or one with CREATEROLE
            and CREATE on the database.
        name: The ledger's name.

    Raises:
        SchemaMismatch: the database is newer than this software, or one of its migrations differs.
        WrongRole: the role may not create what is needed.
    """
    if conn.info.server_version < OLDEST_SERVER:
        raise SchemaMismatch(
            "this PostgreSQL is too old",
            expected="15 or newer",
            actual=str(conn.info.server_version // 10000),
            remedy="use a newer server",
        )
    done: list[str] = []
    try:
        with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
            cursor.execute(LOCK, [f"audit-ledger init {name}"])
            _make_roles(cursor, name, done)
            _make_schemas(cursor, name, done)
            _migrate(cursor, name, done)
            _install_projections(cursor, name, done)
            cursor.execute("RESET ROLE")
    except psycopg.errors.InsufficientPrivilege as error:
        raise WrongRole(
            f"{conn.info.user} may not initialise the ledger {name}",
            expected="a superuser, or a role with CREATEROLE and CREATE on the database",
            actual=str(error).strip(),
            remedy="run `audit-ledger init --url …` with the URL of an administrator",
        ) from error
    return done


def current(conn: psycopg.Connection[Any], name: str) -> Ready | None:
    """What `check` finds, where `init` would find nothing to do; else None.

    Raises:
        SchemaMismatch: the ledger is newer than this software.
        WrongRole: the role may not even read.
    """
    try:
        ready = check(conn, name)
    except NotInitialised:
        return None
    except SchemaMismatch as error:
        if "older" in error.what:
            return None
        raise
    with conn.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            sql.SQL("SELECT projection FROM {}").format(sql.Identifier(f"{name}_read", "progress"))
        )
        installed = {row[0] for row in cursor}
    return ready if installed.issuperset(file_names("projections")) else None


def check(conn: psycopg.Connection[Any], name: str) -> Ready:
    """Say whether the ledger can be used with this software and this role.

    Raises:
        NotInitialised: no ledger of that name is here.
        SchemaMismatch: the ledger is older or newer than this software.
        EvidenceInvalid: its identity is gone.
        WrongRole: the role may not even read.
    """
    user = conn.info.user
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(
            "SELECT oid, has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s",
            [name],
        ).fetchone()
        if row is None:
            raise NotInitialised(
                f"the database {conn.info.dbname} holds no ledger named {name}",
                remedy="run `audit-ledger init` as an administrator of the database",
            )
        if not row[1]:
            raise _no_member(user, name, "reader")
        migrations = sql.Identifier(name, "migrations")
        here = cursor.execute(
            sql.SQL(
                "SELECT (SELECT id FROM {origin}), (SELECT made_as FROM {origin}), coalesce(max(number), -1),"
                " has_table_privilege({events}, 'INSERT') AND NOT pg_is_in_recovery(),"
                " coalesce((SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles"
                "            WHERE rolname = {officer}), false)"
                " FROM {migrations}"
            ).format(
                origin=sql.Identifier(name, "origin"),
                events=f'"{name}".events',
                officer=f"{name}_officer",
                migrations=migrations,
            )
        ).fetchone()
    assert here is not None  # an aggregate always has a row
    ledger_id, made_as, number, may_write, may_govern = here
    ours = _number(file_names("schema")[-1])
    if number < ours:
        raise SchemaMismatch(
            f"the ledger {name} is older than this software",
            expected=f"migration {ours}",
            actual=f"migration {number}",
            remedy="run `audit-ledger init` as an administrator of the database",
        )
    if number > ours:
        raise _newer(name, number, ours)
    if ledger_id is None:
        raise gone(f"the identity of the ledger {name}", "origins")
    return Ready(ledger_id, made_as, user, may_write, may_write and may_govern)


def _newer(name: str, number: int, ours: int) -> SchemaMismatch:
    return SchemaMismatch(
        f"the ledger {name} is newer than this software",
        expected=f"migration {ours} at most",
        actual=f"migration {number}",
        remedy="upgrade audit-ledger",
    )


def _no_member(user: str, name: str, role: str) -> WrongRole:
    return WrongRole(
        f"the role {user} may not use the ledger {name}",
        expected=f"a member of {name}_{role}",
        actual=user,
        remedy=f"GRANT {name}_{role} TO {user}, or connect as {name}_{role}",
    )


def refuse_reader(user: str, name: str) -> WrongRole:
    """The error for a role that reads but may not append."""
    return _no_member(user, name, "writer")


def refuse_writer(user: str, name: str) -> WrongRole:
    """The error for a role that may not erase, hold, nor set the retention."""
    return WrongRole(
        f"{user} may not erase bodies, hold them, nor set the retention of the ledger {name}",
        expected=f"a member of {name}_officer",
        actual=user,
        remedy=f"connect as {name}_officer: in the embedded ledger, audit_ledger.connect(role='officer')",
    )


def _make_roles(cursor: Cursor, name: str, done: list[str]) -> None:
    for role, kind in [
        ("owner", "NOLOGIN"),
        ("projector", "NOLOGIN"),
        ("writer", "LOGIN"),
        ("officer", "LOGIN"),
        ("sealer", "LOGIN"),
        ("reader", "LOGIN"),
    ]:
        full = f"{name}_{role}"
        if not cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [full]).fetchone():
            cursor.execute(sql.SQL("CREATE ROLE {} " + kind).format(sql.Identifier(full)))
            done.append(f"created role {full}")
    roles = ("owner", "projector", "writer", "officer", "sealer", "reader")
    names = {role: sql.Identifier(f"{name}_{role}") for role in roles}
    cursor.execute(
        sql.SQL("GRANT {reader} TO {writer}, {sealer}; GRANT {writer} TO {officer}").format(**names)
    )
    # Below we act as owner and projector, which takes membership: a superuser has it, and who made
    # the roles may grant it to themselves.
    for role in ("owner", "projector"):
        try:
            with cursor.connection.transaction(force_rollback=True):
                cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(names[role]))
        except psycopg.errors.InsufficientPrivilege:
            cursor.execute(sql.SQL("GRANT {} TO SESSION_USER").format(names[role]))


def _make_schemas(cursor: Cursor, name: str, done: list[str]) -> None:
    for schema, owner in [
        (name, "owner"),
        (f"{name}_read", "projector"),
        (as_of_schema(name), "projector"),
    ]:
        if cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchone():
            continue
        for statement in SCHEMA:
            cursor.execute(
                sql.SQL(statement).format(
                    schema=sql.Identifier(schema),
                    owner=sql.Identifier(f"{name}_{owner}"),
                    reader=sql.Identifier(f"{name}_reader"),
                    projector=sql.Identifier(f"{name}_projector"),
                )
            )
        done.append(f"created schema {schema}")
    # Who connects with psql finds the tables without a prefix.
    for role in ("reader", "writer", "officer", "sealer") if done else ():
        cursor.execute(
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = {}, {}").format(
                sql.Identifier(f"{name}_{role}"),
                sql.Identifier(cursor.connection.info.dbname),
                sql.Identifier(f"{name}_read"),
                sql.Identifier(name),
            )
        )


def _migrate(cursor: Cursor, name: str, done: list[str]) -> None:
    files = schema_files()
    migrations = sql.Identifier(name, "migrations")
    applied: dict[int, object] = {}
    if cursor.execute("SELECT to_regclass(%s) AS t", [f'"{name}".migrations']).fetchone() != {"t": None}:
        rows = cursor.execute(sql.SQL("SELECT number, sha256 FROM {}").format(migrations)).fetchall()
        applied = {int(str(row["number"])): row["sha256"] for row in rows}
    if applied and max(applied) > _number(files[-1].name):
        raise _newer(name, max(applied), _number(files[-1].name))
    for file in files:
        number = _number(file.name)
        if number in applied:
            if applied[number] != file.sha256:
                raise SchemaMismatch(
                    f"migration {number} of the ledger {name} is not the file {file.name}.sql",
                    expected=f"SHA-256 {applied[number]}, as it was run",
                    actual=f"SHA-256 {file.sha256}",
                    remedy="install the audit-ledger that made the ledger, or a newer release",
                )
            continue
        act_as(cursor, name, file.header.get("run as", "owner"), as_of="in" in file.header)
        cursor.execute(file.text.encode(), prepare=False)
        act_as(cursor, name, "owner")
        cursor.execute(
            sql.SQL("INSERT INTO {} (number, file, sha256, software_version) VALUES (%s, %s, %s, %s)").format(
                migrations
            ),
            [number, f"{file.name}.sql", file.sha256, VERSION],
        )
        done.append(f"ran {file.name}.sql")


def _install_projections(cursor: Cursor, name: str, done: list[str]) -> None:
    act_as(cursor, name, "projector")
    there = {row["projection"] for row in cursor.execute("SELECT projection FROM progress").fetchall()}
    new = [(ordinal, file) for ordinal, file in enumerate(projection_files()) if file.name not in there]
    for ordinal, file in new:
        install_projection(cursor, file, ordinal)
        done.append(f"installed read model {file.name}")
    if new:
        cursor.execute(
            "UPDATE progress SET ordinal = f.ordinal - 1"
            "  FROM unnest(%s::text[]) WITH ORDINALITY AS f(name, ordinal)"
            " WHERE projection = f.name AND progress.ordinal <> f.ordinal - 1",
            [[file.name for file in projection_files()]],
        )
        install_views(cursor, name, [file for _, file in new])


def install_projection(cursor: Cursor, file: SqlFile, ordinal: int) -> None:
    """Make a read model's tables and fold functions in the first schema of the search path.

    `:after` and `:upto` in the fold are the bounds of the range, (after, upto].
    """
    cursor.execute(file.blocks["ddl"].encode(), prepare=False)
    install_functions(cursor, file, ordinal)


def install_functions(cursor: Cursor, file: SqlFile, ordinal: int) -> None:
    """Make a read model's fold functions, or replace them, and note which file they are from."""
    stages = [stage for stage in ("fold", "finish") if stage in file.blocks]
    for stage in stages:
        body = re.sub(r":(after|upto)\b", r"\1_position", file.blocks[stage])
        cursor.execute(
            sql.SQL(
                "CREATE OR REPLACE FUNCTION {}(after_position bigint, upto_position bigint) RETURNS void"
                " LANGUAGE plpgsql AS {}"
            ).format(sql.Identifier(f"{stage}_{file.name}"), sql.Literal(f"BEGIN\n{body}END"))
        )
    cursor.execute(
        "INSERT INTO progress (projection, ordinal, stages, types, sha256) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (projection) DO UPDATE SET ordinal = excluded.ordinal, stages = excluded.stages,"
        " types = excluded.types, sha256 = excluded.sha256",
        [file.name, ordinal, stages, file.types, file.sha256],
    )


def _number(name: str) -> int:
    return int(name.split("_")[0])
