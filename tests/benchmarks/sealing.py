"""Sealing, proving and verifying: beside plain hashlib, and pymerkle with the same leaves.

What is sealed are records' events as scripts make them. The peers have their leaves in memory, as bytes;
sealing reads them from PostgreSQL, and stores tiles and a checkpoint. CPU is that of the sealer and of the
server's process that works for it, together: so many events a core.
"""

import gc
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from statistics import median
from typing import Any

import psutil
import psycopg
from pymerkle import InmemoryTree

from audit_ledger.evidence import keyring, merkle, proving, sealing, whole
from audit_ledger.store.database import Database
from tests.benchmarks.ground import LEDGER, Ground
from tests.benchmarks.harness import WARM_UP, Row, Sizes, quartiles, rates, seconds, take_turns, within

DATABASE = "bench_sealing"
A_CORE = 250_000
"""Events that a core must seal in a second."""

VERIFIED = 200_000
"""Events that must be verified in a second."""

FEW = 10
"""New events of a small checkpoint."""

APPEND = """
    SELECT ledger.append(
        array_agg(gen_random_uuid()), array_agg(1::bigint), array_agg('RecordIngested'::text),
        array_agg(convert_to(
            '{"content":"' || translate(encode(sha256(g::text::bytea), 'base64'), '+/=', '-_')
            || '","occurred_at":"2025-12-24T14:00:00.000000Z","operation":"created","record_id":"' || g
            || '","record_type":"QuiverTrade","v":1}', 'UTF8')))
      FROM generate_series(1, %s::int) g
"""
APPENDED = 100_000
"""Events that are appended at once."""

DICE = random.Random(6962)


def measure(ground: Ground, sizes: Sizes) -> Iterator[Row]:
    """The rows of the table about sealing."""
    ground.make_ledger(DATABASE)
    url = ground.server.url(f"{LEDGER}_sealer", DATABASE)
    with ExitStack() as stack:
        database = stack.enter_context(Database(url, LEDGER, ground.settings))
        admin = stack.enter_context(ground.administer(DATABASE))
        stack.callback(gc.unfreeze)
        origin = str(admin.execute(f"SELECT id FROM {LEDGER}.origin").fetchone()[0])  # type: ignore[index]
        signer, _ = keyring.make(ground.settings, origin)
        with database.connection() as conn:
            server = psutil.Process(conn.info.backend_pid)
        leaves: list[bytes] = []
        tree = InmemoryTree(algorithm="sha256")
        cpu: list[float] = []

        def seal() -> float:
            append(admin, sizes.sealed_batch)
            leaves[:] = last_leaves(admin, sizes.sealed_batch)

            def sealed() -> None:
                before = cpu_seconds(server)
                sealing.seal(database, signer)
                cpu.append(cpu_seconds(server) - before)

            return seconds(sealed)

        ours, hashed, appended = take_turns(
            sizes.seals,
            seal,
            lambda: seconds(lambda: plainly_hashed(leaves)),
            lambda: seconds(lambda: [tree.append_entry(leaf) for leaf in leaves]),
        )
        gc.freeze()  # what is measured from here on does not pay for looking through the peer's tree
        number = sizes.sealed_batch
        name = f"Seal {number:,} new events"
        yield rates(name, "hashlib, leaves in memory", ours, hashed, number, 0.2)
        yield rates(name, "pymerkle, leaves in memory", ours, appended, number, 1)
        yield within(
            f"{name}: CPU of sealer and server, an event",
            [1e6 * used / number for used in cpu[WARM_UP:]],
            1e6 / A_CORE,
            "µs",
        )
        fill(admin, sizes.sealed - (WARM_UP + sizes.seals) * number, lambda: sealing.seal(database, signer))
        size = admin.execute(f"SELECT max(size) FROM {LEDGER}.checkpoints").fetchone()[0]  # type: ignore[index]
        yield within(
            f"Seal {FEW} new events of {size:,}",
            [1000 * few(admin, database, signer) for _ in range(sizes.small_seals)],
            20,
            "ms",
        )
        positions = [DICE.randint(1, size) for _ in range(sizes.proofs)]
        proofs = [proved(database, position) for position in positions]
        held = tree.get_size()
        theirs = [proved_in_memory(tree, position % held + 1) for position in positions]
        yield Row(
            f"Prove an event of {size:,}",
            f"{1000 * median(proofs):.2f} ms",
            f"limit: 5 ms; pymerkle, {held:,} in memory: {1000 * median(theirs):.2f} ms",
            median(proofs) / 5e-3,
            1,
            at_least=False,
            spread=quartiles([took / 5e-3 for took in proofs]),
        )
        verified = [
            seconds(lambda: require_right(whole.verify_log(database, [signer.verifier])))
            for _ in range(sizes.verifications)
        ]
        total = admin.execute(f"SELECT position FROM {LEDGER}.head").fetchone()[0]  # type: ignore[index]
        yield Row(
            f"Verify {total:,} events against tiles and checkpoints",
            f"{total / median(verified):,.0f} events/s",
            f"limit: {VERIFIED:,} events/s",
            total / median(verified) / VERIFIED,
            1,
            at_least=True,
            spread=quartiles([total / took / VERIFIED for took in verified]),
        )


def append(admin: psycopg.Connection[Any], count: int) -> None:
    """Append so many events, and have them written."""
    admin.execute(APPEND, [count])
    admin.execute("CHECKPOINT")


def fill(admin: psycopg.Connection[Any], count: int, then: Any) -> None:
    """Append events until there are as many as were asked for, and seal them."""
    for start in range(0, count, APPENDED):
        admin.execute(APPEND, [min(APPENDED, count - start)])
    admin.execute("CHECKPOINT")
    then()


def last_leaves(admin: psycopg.Connection[Any], count: int) -> list[bytes]:
    """The leaves of the last events."""
    rows = admin.execute(
        f"SELECT leaf FROM {LEDGER}.leaves WHERE position > (SELECT position FROM {LEDGER}.head) - %s"
        " ORDER BY position",
        [count],
    )
    return [row[0] for row in rows]


def plainly_hashed(leaves: list[bytes]) -> bytes:
    """The root of leaves that are in memory, by hashlib."""
    return merkle.root([sha256(b"\x00" + leaf).digest() for leaf in leaves])


def cpu_seconds(server: psutil.Process) -> float:
    """CPU that this process, and the server's that works for it, have used."""
    times = server.cpu_times()
    return time.process_time() + float(times.user + times.system)


def few(admin: psycopg.Connection[Any], database: Database, signer: Any) -> float:
    """The seconds of a small checkpoint."""
    admin.execute(APPEND, [FEW])
    return seconds(lambda: sealing.seal(database, signer))


def proved(database: Database, position: int) -> float:
    """The seconds of a proof."""
    return seconds(lambda: proving.prove_event(database, position))


def proved_in_memory(tree: InmemoryTree, index: int) -> float:
    """The seconds of a proof of pymerkle's, which counts from 1."""
    return seconds(lambda: tree.prove_inclusion(index))


def require_right(found: whole.LogVerified) -> None:
    """What is measured must have found nothing."""
    if not found.same:
        raise RuntimeError(f"the ledger does not verify: {found.faults}")
