"""What the commands that change the service file have in common."""

import sys
from pathlib import Path

import typer
import yaml

from deployments.local.cli.apply import apply_here
from deployments.local.instance import Instance
from deployments.local.service_document import settings_of
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError


def file_settings(config: Path | None) -> LauncherSettings:
    """Return the launcher's settings with the service file that is to be changed."""
    # Not CHATLLM_MODEL: what stands in the file is what is changed.
    return LauncherSettings.read(config=config.absolute() if config else None, model="")


def valid(text: str, path: Path) -> str:
    """Return the file's text if the service would take it; LauncherError says what is wrong."""
    try:
        settings_of(yaml.safe_load(text))
    except ValueError as error:
        raise LauncherError(f"{path} would not be valid: {error}") from None
    return text


def tell_and_apply(done: str, settings: LauncherSettings, yes: bool) -> None:
    """Say what was done to the file, and bring it into force on the service that runs with it, if it may be asked."""
    record = Instance.read(settings.state.absolute())
    if record is None:
        typer.echo(f"{done} It takes effect at the next start (make serve).")
    elif not record.config or Path(record.config).resolve() != settings.config.resolve():
        typer.echo(f"{done} The running service has another file{f', {record.config}' if record.config else ''}.")
    elif yes or sys.stdin.isatty():
        typer.echo(done)
        apply_here(settings.config, yes=yes)
    else:
        typer.echo(f"{done} Apply it to the running service: chatllm apply.")
