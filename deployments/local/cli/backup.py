"""`chatllm backup` and `chatllm restore`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from deployments.local.cli.keys import borrowed_postgres
from deployments.local.keys import FILE
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, Locked, StateFolder
from deployments.local.steps import steps_for


def backup(target: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")]) -> None:
    """Write keys, conversations, responses and usage into one file, while the service runs. It holds secrets."""
    from deployments.local.backup import back_up

    target = target.absolute()
    key = LauncherSettings.read().state.absolute() / FILE
    with steps_for(sys.stdout).step("the database is written"), borrowed_postgres() as url:
        size = back_up(url, key, target)
    typer.echo(f"Backed up to {target} ({decimal(size)}).")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `chatllm backup` or pg_dump wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Give up what the embedded database holds now.")] = False,
) -> None:
    """Bring a backup into an empty state folder, or into an empty external database. The service is stopped."""
    from deployments.local import backup as backups
    from deployments.local.servers.postgres import PostgresServer

    settings, file = LauncherSettings.read(), file.absolute()
    backups.require_restorable(file)
    state = StateFolder.open(settings.state)
    steps = steps_for(sys.stdout)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if not backups.is_empty(url):
            raise LauncherError("the database is not empty: name a new one by DATABASE_URL")
        with steps.step("the database is filled"):
            backups.restore(file, url)
    else:
        server = PostgresServer(state)
        try:
            with steps.step("Postgres starts"):
                server.start()
            if not backups.is_empty(server.url) and not replace:
                raise LauncherError(
                    f"the database in {state.path} is not empty: choose another CHATLLM_STATE, "
                    "or give up what it holds by --replace"
                )
            with steps.step("the database is filled"):
                backups.restore_in_place(file, server.url)
        except Locked:
            raise LauncherError("the service is running: make stop first") from None
        finally:
            server.stop()
    has_key = backups.restore_key(file, state.path / FILE)
    typer.echo(f"Restored {file}{'' if has_key else ', which has no first key'}.")
