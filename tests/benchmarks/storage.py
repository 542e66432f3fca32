"""What calls with large bodies that repeat take in the database, beside their distinct bodies by themselves.

One body in ten is new: each URL is called ten times, and answers the same every time, so that the requests
repeat with their answers. What it is held against are the distinct answers in a table of their own,
compressed by the same PostgreSQL in the same way, and nothing else: no key, no salt, no media type.

Beside the bodies, a call leaves its event, its row in `api_call_logs`, one each for request and response in
`api_payload_rows`, and its entries in nine indexes. That is the same few bytes whatever the bodies' size, so
that the whole database depends on how large they are once compressed.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import requests

import audit_ledger
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import Row, Sizes, within
from tests.benchmarks.upstream import serving

DATABASE = "bench_storage"
LARGE = 100_000
"""Bytes of a body."""

DISTINCT_OF = 10
"""One body in so many is new."""

MEBIBYTE = 2**20


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about storage."""
    calls = sizes.large_calls
    ground.make_ledger(DATABASE)
    with ground.administer(DATABASE) as conn:
        empty, before = taken(conn), of_calls(conn)
        record(ground, calls)
        whole, after = taken(conn) - empty, of_calls(conn)
        bodies, alone = beside(conn, calls)
    limit = f"distinct bodies alone: {alone / MEBIBYTE:.2f} MiB"
    for name, size in (
        (f"Bodies of {calls:,} calls of 100 kB, one in ten new", bodies),
        ("The same, the whole database", whole),
    ):
        yield Row(name, f"{size / MEBIBYTE:.2f} MiB", limit, size / alone, 1.2, at_least=False)
    yield within(
        "A call beside its bodies: event, read models, indexes", [(after - before) / calls], 1500, "bytes"
    )


def record(ground: Ground, calls: int) -> None:
    """Make the calls, and fold them."""
    with (
        serving(LARGE) as url,
        audit_ledger.connect(ground.writer_url(DATABASE)) as ledger,
    ):
        with ledger.run("bench:storage", "bench", capture=True) as run, requests.Session() as session:
            for number in range(calls):
                session.get(f"{url}/large/{number % (calls // DISTINCT_OF)}").raise_for_status()
        ledger.update_read_models()
        found = ledger.find_run(run.id)
        assert found is not None
        assert found.calls.count() == calls


def taken(conn: psycopg.Connection[Any]) -> int:
    """Bytes of the database, everything written back."""
    conn.execute("CHECKPOINT")
    return one(conn, "SELECT pg_database_size(current_database())")


def of_calls(conn: psycopg.Connection[Any]) -> int:
    """Bytes of what holds a row a call or more, but for the bodies themselves: tables, TOAST and indexes."""
    return one(
        conn,
        "SELECT sum(pg_total_relation_size(name))::bigint"
        f"  FROM unnest('{{{LEDGER}.events, {LEDGER}_read.api_call_logs, {LEDGER}_read.api_payload_rows}}'"
        "              ::regclass[]) AS name",
    )


def beside(conn: psycopg.Connection[Any], calls: int) -> tuple[int, int]:
    """Bytes of the table of bodies, requests included, and of the distinct answers by themselves."""
    conn.execute("CREATE TABLE public.distinct_bodies (content bytea)")
    conn.execute(
        f"INSERT INTO public.distinct_bodies SELECT content FROM {LEDGER}.bodies"
        " WHERE media_type = 'application/json'"
    )
    assert one(conn, "SELECT count(*) FROM public.distinct_bodies") == calls // DISTINCT_OF
    return (
        one(conn, f"SELECT pg_total_relation_size('{LEDGER}.bodies')"),
        one(conn, "SELECT pg_total_relation_size('public.distinct_bodies')"),
    )


def one(conn: psycopg.Connection[Any], query: str) -> int:
    """The one number that a query returns."""
    row = conn.execute(query).fetchone()
    assert row is not None
    number: int = row[0]
    return number
