"""`chatllm usage`: what keys and users used, by day and model, from the same Postgres as `chatllm keys`."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer

from deployments.errors import NotFound
from deployments.infra.postgres.database import Database
from deployments.keys.postgres import PostgresKeys
from deployments.keys.types import Key
from deployments.local import keys
from deployments.local.cli.keys import borrowed_postgres
from deployments.local.cli.users import all_users, user_named
from deployments.usage.postgres import PostgresUsage
from deployments.usage.types import Row
from deployments.users.postgres import PostgresUsers

MAX_ROWS = 100_000
COLUMNS = ("requests", "errors", "prompt_tokens", "completion_tokens", "cached_tokens")
HEAD = ("day", "key", "model", "requests", "errors", "prompt", "completion", "cached")


def usage(
    name: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="A key's id or name, or a username; all if it is left out.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="Days up to today (UTC).")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show usage by day and model: requests, errors, tokens, and tokens answered from the cache."""
    today = datetime.now(UTC).date()
    start = today - timedelta(days=days - 1)
    with borrowed_postgres() as url:
        rows, names = keys.run_on_database(url, lambda database: _read(database, name, start, today))
    found = [_line(row, names) for row in rows]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for line in table([HEAD, *(tuple(str(value) for value in line.values()) for line in found)] if found else []):
        typer.echo(line)


async def _read(database: Database, name: str | None, start: date, end: date) -> tuple[Sequence[Row], dict[str, str]]:
    """Return the rows, and the names of keys and users by their ids."""
    keys_, users = PostgresKeys(database), PostgresUsers(database)
    if name is None:
        known = [*await keys_.list(), *(user.account for user in await all_users(users))]
    else:
        known = [await _one(keys_, users, name)]
    key_id = None if name is None else known[0].id
    rows = await PostgresUsage(database).report(key_id, start, end, ("day", "key", "model"), MAX_ROWS)
    return rows, {key.id: key.name for key in known}


async def _one(keys_: PostgresKeys, users: PostgresUsers, name: str) -> Key:
    try:
        return await keys_.retrieve(name)
    except NotFound:
        return (await user_named(users, name)).account


def _line(row: Row, names: dict[str, str]) -> dict[str, Any]:
    figures = {column: getattr(row.used, column) for column in COLUMNS}
    return {"day": str(row.day), "key": names.get(row.key_id or "", row.key_id), "model": row.model or "-", **figures}


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines: words to the left, figures to the right, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = len(HEAD) - len(COLUMNS)
    return [
        "  ".join(
            text.ljust(width) if at < words else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
