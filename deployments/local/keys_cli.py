"""`chatllm keys`: on the user's own Postgres, the running embedded one, or one started for the moment."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from deployments.local import keys
from deployments.local.settings import LauncherSettings
from deployments.local.state import Locked, StateFolder

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@keys_app.command()
def create(name: Annotated[str, typer.Argument(help="Who or what will use the key.")]) -> None:
    """Make a key and print it, alone; it cannot be read again."""
    with _postgres() as url:
        typer.echo(keys.run(url, lambda store: store.create(name))[1])


@keys_app.command("list")
def list_() -> None:
    """List all keys, oldest first."""
    with _postgres() as url:
        found = keys.run(url, lambda store: store.list())
    for key in found:
        state = "valid" if key.is_valid() else "revoked" if key.revoked_at else "expired"
        typer.echo(f"{key.id}  {key.created_at:%Y-%m-%d %H:%M}  {state:<8} …{key.last4}  {key.name}")


@keys_app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, or the name of a valid one.")]) -> None:
    """Revoke a key: within seconds nothing answers to it any more."""
    with _postgres() as url:
        found = keys.run(url, lambda store: store.revoke(key))
    typer.echo(f"Revoked {found.id} ({found.name}).")


@contextmanager
def _postgres() -> Generator[str]:
    """Lend the address of the store that holds the keys."""
    settings = LauncherSettings.read()
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from deployments.local.postgres import PostgresServer

    server = PostgresServer(StateFolder.open(settings.state))
    try:
        server.start()
    except Locked:  # it runs, and its socket is where ours would be
        yield server.url
        return
    try:
        yield server.url
    finally:
        server.stop()
