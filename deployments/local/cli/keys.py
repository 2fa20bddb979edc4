"""`chatllm keys`: on the user's own Postgres, the running embedded one, or one started for the moment."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from deployments.keys.types import ANY_NUMBER, LIMIT_NAMES, MAX_LIMIT, MAX_WEIGHT, Key, KeyChanges, KeyLimits
from deployments.local import keys
from deployments.local.settings import LauncherSettings
from deployments.local.state import StateFolder
from deployments.queueing.job import Priority

keys_app = typer.Typer(help="Create, list, change and revoke API keys.", no_args_is_help=True)

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
NEVER = "never"
DEFAULT = "default"
# In the order of KeyLimits.
SHORT = ("rpm", "tpm", "at once", "tokens a month", "bytes stored", "open batches", "lines a batch", "bytes of files")

Named = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or its name unless it is revoked.")]
Expires = Annotated[
    str | None, typer.Option(help="When it expires: 90m, 12h or 30d from now, a date (2027-01-31, UTC), or never.")
]
PerMinute = Annotated[int | None, typer.Option("--rpm", min=0, help="Requests per minute; 0 for no limit.")]
Tokens = Annotated[int | None, typer.Option("--tpm", min=0, help="Tokens per minute; 0 for no limit.")]
AtOnce = Annotated[
    str | None,
    typer.Option("--concurrent", help="Concurrent answers; 0 for no limit, default for the configured limit."),
]
Monthly = Annotated[int | None, typer.Option("--monthly-tokens", min=0, help="Tokens per month (UTC); 0 for no limit.")]

StorageMB = Annotated[
    int | None, typer.Option("--storage-mb", min=0, help="MB that the key may store; 0 for the configured limit.")
]
OpenBatches = Annotated[
    int | None, typer.Option(min=0, help="Batches that have not ended; 0 for the configured bound.")
]
BatchLines = Annotated[int | None, typer.Option(min=0, help="Requests in one batch; 0 for the configured bound.")]
FilesMB = Annotated[int | None, typer.Option("--files-mb", min=0, help="MB of files; 0 for the configured bound.")]
Weight = Annotated[
    int | None, typer.Option(min=0, max=MAX_WEIGHT, help="Share of a busy model in relation to other keys'; 0 for 1.")
]
PriorityClass = Annotated[
    Priority | None, typer.Option("--priority", help="How its requests wait: batch has only what interactive leaves.")
]


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use the key.")],
    admin: Annotated[bool, typer.Option("--admin", help="Allow it to manage keys and see all usage.")] = False,
    expires: Expires = None,
    rpm: PerMinute = None,
    tpm: Tokens = None,
    concurrent: AtOnce = None,
    monthly_tokens: Monthly = None,
    storage_mb: StorageMB = None,
    open_batches: OpenBatches = None,
    batch_lines: BatchLines = None,
    files_mb: FilesMB = None,
    weight: Weight = None,
    priority: PriorityClass = None,
) -> None:
    """Create a key and print it, alone. It cannot be shown again."""
    changes = _changes(expires, concurrent, rpm, tpm, monthly_tokens, storage_mb) | _queueing(weight, priority)
    changes |= _batching(open_batches, batch_lines, files_mb)
    changes["is_admin"] = admin
    with borrowed_postgres() as url:
        typer.echo(keys.run(url, lambda store: store.create(name, changes))[1])


@keys_app.command("list")
def list_() -> None:
    """List all keys, oldest first."""
    with borrowed_postgres() as url:
        found = keys.run(url, lambda store: store.list())
    for key in found:
        typer.echo(_line(key))


@keys_app.command()
def update(
    key: Named,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    admin: Annotated[
        bool | None, typer.Option("--admin/--no-admin", help="Whether it is an administrator's key.")
    ] = None,
    expires: Expires = None,
    rpm: PerMinute = None,
    tpm: Tokens = None,
    concurrent: AtOnce = None,
    monthly_tokens: Monthly = None,
    storage_mb: StorageMB = None,
    open_batches: OpenBatches = None,
    batch_lines: BatchLines = None,
    files_mb: FilesMB = None,
    weight: Weight = None,
    priority: PriorityClass = None,
) -> None:
    """Change the given settings of a key. The change takes effect within seconds."""
    changes = _changes(expires, concurrent, rpm, tpm, monthly_tokens, storage_mb) | _queueing(weight, priority)
    changes |= _batching(open_batches, batch_lines, files_mb)
    if name is not None:
        changes["name"] = name
    if admin is not None:
        changes["is_admin"] = admin
    _update(key, changes)


@keys_app.command()
def disable(key: Named) -> None:
    """Disable a key until it is enabled again."""
    _update(key, {"disabled_at": datetime.now(UTC)})


@keys_app.command()
def enable(key: Named) -> None:
    """Enable a disabled key."""
    _update(key, {"disabled_at": None})


@keys_app.command()
def revoke(key: Named) -> None:
    """Revoke a key permanently. It is refused within seconds."""
    with borrowed_postgres() as url:
        found = keys.run(url, lambda store: store.revoke(key))
    typer.echo(f"Revoked {found.id} ({found.name}).")


def _update(key: str, changes: KeyChanges) -> None:
    with borrowed_postgres() as url:
        typer.echo(_line(keys.run(url, lambda store: store.update(key, changes))))


def _changes(
    expires: str | None,
    concurrent: str | None,
    rpm: int | None,
    tpm: int | None,
    monthly_tokens: int | None,
    storage_mb: int | None,
) -> KeyChanges:
    """Return what the options set: none of those that were not given."""
    changes: KeyChanges = {}
    if expires is not None:
        changes["expires_at"] = moment(expires)
    if concurrent is not None:
        changes["concurrent_requests"] = at_once(concurrent)
    if rpm is not None:
        changes["requests_per_minute"] = rpm or None
    if tpm is not None:
        changes["tokens_per_minute"] = tpm or None
    if monthly_tokens is not None:
        changes["tokens_per_month"] = monthly_tokens or None
    if storage_mb is not None:
        changes["storage_bytes"] = storage_mb * 1_000_000 or None
    return changes


def _batching(open_batches: int | None, batch_lines: int | None, files_mb: int | None) -> KeyChanges:
    changes: KeyChanges = {}
    if open_batches is not None:
        changes["open_batches"] = open_batches or None
    if batch_lines is not None:
        changes["batch_lines"] = batch_lines or None
    if files_mb is not None:
        changes["file_bytes"] = files_mb * 1_000_000 or None
    return changes


def _queueing(weight: int | None, priority: Priority | None) -> KeyChanges:
    changes: KeyChanges = {}
    if weight is not None:
        changes["weight"] = weight or None
    if priority is not None:
        changes["priority"] = priority
    return changes


def at_once(text: str) -> int | None:
    """Return the limit of what runs at once that `text` says, None for the default; raises BadParameter."""
    if text == DEFAULT:
        return None
    if not text.isdecimal() or int(text) > MAX_LIMIT:
        raise typer.BadParameter(f"{text!r} must be a number (0 for no limit) or {DEFAULT}")
    return int(text) or ANY_NUMBER


def moment(text: str) -> datetime | None:
    """Return when `text` says that a key expires, None for never; raises BadParameter for what says nothing."""
    if text == NEVER:
        return None
    try:
        if match := re.fullmatch(r"(\d{1,6})([mhd])", text):
            return datetime.now(UTC) + timedelta(**{UNITS[match[2]]: int(match[1])})
        parsed = datetime.fromisoformat(text)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} must be a time such as 90m, 12h or 30d, a date such as 2027-01-31, or never"
        ) from None


def _line(key: Key) -> str:
    words = [f"{key.id}  {key.created_at:%Y-%m-%d %H:%M}  {key.state:<8} …{key.last4}  {key.name}"]
    words += ["admin"] if key.is_admin else []
    words += [f"expires {key.expires_at:%Y-%m-%d %H:%M}"] if key.expires_at else []
    limits = _limits(key.limits)
    words += [limits] if limits else []
    words += [f"weight {key.weight}"] if key.weight else []
    words += [key.priority] if key.priority else []
    return "  ".join(words)


def _limits(limits: KeyLimits) -> str:
    values = (getattr(limits, name) for name in LIMIT_NAMES)
    shown = ("any number" if value == ANY_NUMBER else value for value in values)
    return ", ".join(f"{value} {short}" for value, short in zip(shown, SHORT, strict=True) if value)


@contextmanager
def borrowed_postgres() -> Generator[str]:
    """Lend the address of the store that holds the keys and their usage."""
    settings = LauncherSettings.read()
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from deployments.local.servers.borrowed import borrowed_server
    from deployments.local.servers.postgres import PostgresServer

    with borrowed_server(PostgresServer(StateFolder.open(settings.state))) as url:
        yield url
