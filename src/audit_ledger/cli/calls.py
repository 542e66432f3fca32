"""The commands about API calls: calls, payload."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from audit_ledger import cli
from audit_ledger.cli.output import (
    Column,
    Form,
    Format,
    Json,
    complain,
    plain,
    print_json,
    print_pairs,
    print_table,
    warn,
)
from audit_ledger.cli.place import asking
from audit_ledger.cli.questions import RUN_ID, AsOf, Final, export

CALLS = (
    Column("id", "id"),
    Column("made", "occurred_at"),
    Column("method", "method"),
    Column("endpoint", "endpoint"),
    Column("status", "status"),
    Column("ms", "duration_ms"),
    Column("left", "rate_limit_remaining", room=True),
    Column("request", "api_request_payload_id"),
    Column("response", "api_response_payload_id"),
    Column("error", "error", room=True),
)


def calls(
    ctx: typer.Context,
    run_id: Annotated[str, RUN_ID],
    failed: Annotated[bool, typer.Option("--failed", help="Those only that failed.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    as_json: Json = False,
    form: Form = Format.table,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """List the API calls of a run, newest first; `payload` shows what was sent and what came back.

    Example: audit-ledger calls 1f0c3a7e --failed
    """
    with asking(ctx) as ledger:
        if form is not Format.table:
            found = ledger.find_run(run_id).calls.limit(limit)
            export(ledger, found.failed() if failed else found, form)
            return
        rows = ledger.call_details(run_id, failed=failed, limit=limit)
    if as_json:
        print_json(rows)
    elif rows:
        print_table([_shown(row) for row in rows], CALLS)
    else:
        warn("no failed calls" if failed else "no calls")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    status = str(row["http_status_code"] or "none") + (
        f", attempt {row['attempt']}" if row["attempt"] > 1 else ""
    )
    return {
        **row,
        "status": status,
        "error": row["error_message"] or row["error_class"] or row["capture_error"],
    }


def payload(
    ctx: typer.Context,
    payload_id: Annotated[int, typer.Argument(help="Id of the payload (api_payloads).", min=1)],
    raw: Annotated[bool, typer.Option("--raw", help="Print the very bytes, and nothing else.")] = False,
    as_json: Json = False,
    as_of: AsOf = None,
    final: Final = False,
) -> None:
    """Show what was sent to an API, or what came back. Of a captured request --raw is the HTTP message.

    Example: audit-ledger payload 84 --raw
    """
    with asking(ctx) as ledger:
        found = ledger.payload(payload_id)
    if raw:
        if found.content is None:
            complain(f"payload {payload_id} was too large to keep: {found.size:,} bytes")
            raise typer.Exit(cli.FAILED)
        sys.stdout.buffer.write(found.content)
        return
    try:
        shown = json.loads(found.payload)
    except RecursionError:  # deeper than Python can hold
        shown = found.payload
    if as_json:
        names = ("id", "type", "source", "captured_at", "media_type", "size", "commitment")
        print_json([{**{name: getattr(found, name) for name in names}, "payload": shown}])
        return
    print_pairs(
        [
            ("payload", f"{found.id}, {found.type}"),
            ("run", found.run_id),
            ("endpoint", found.endpoint),
            ("source", found.source),
            ("captured", found.captured_at),
            ("media type", found.media_type),
            ("size", f"{found.size:,} bytes"),
            ("commitment", found.commitment),
        ]
    )
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    typer.echo("\n" + plain(text))
