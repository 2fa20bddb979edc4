"""The command line `chatllm`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.infra.logs import log_to_terminal
from deployments.local import background
from deployments.local.cli.adapters import adapters_app
from deployments.local.cli.apply import apply
from deployments.local.cli.backup import backup, restore
from deployments.local.cli.cache import cache_app
from deployments.local.cli.cluster import cluster_app
from deployments.local.cli.config import config_app
from deployments.local.cli.keys import keys_app
from deployments.local.cli.models import models_app
from deployments.local.cli.monitor import monitor
from deployments.local.cli.usage import usage
from deployments.local.cli.users import users_app
from deployments.local.processes import leftovers
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, StateFolder

app = typer.Typer(
    help="Run ChatLLM on this machine: the API, the chat page, and all that they need.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(keys_app, name="keys")
app.add_typer(users_app, name="users")
app.add_typer(cache_app, name="cache")
app.add_typer(cluster_app, name="cluster")
models_app.add_typer(adapters_app, name="adapter")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once the API answers.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --detach: return once the model answers.")] = False,
    config: Annotated[Path | None, typer.Option(help="The service file, instead of serve_config.yaml.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API (8000).")] = None,
    page_host: Annotated[str | None, typer.Option(help="Address of the chat page (127.0.0.1).")] = None,
    page_port: Annotated[int | None, typer.Option(help="Port of the chat page (8080).")] = None,
    dashboard_port: Annotated[int | None, typer.Option(help="Port of Ray's dashboard (8265).")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Do not start the chat page.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in a browser.")] = False,
    in_background: Annotated[bool, typer.Option("--in-background", hidden=True)] = False,
) -> None:
    """Start everything, and keep it running until Ctrl-C."""
    from deployments.local.launcher import Launcher
    from deployments.local.steps import steps_for

    if wait and not detach:
        raise typer.BadParameter("--wait requires --detach")
    settings = LauncherSettings.read(
        config=config.absolute() if config else None,
        port=port,
        page_host=page_host,
        page_port=page_port,
        dashboard_port=dashboard_port,
        page=False if no_page else None,
        browser=False if no_browser else None,
    )
    if detach:
        background.start(settings, waits_for_model=wait)
    else:
        Launcher(settings, steps_for(sys.stdout), announces=not in_background).run()


@app.command()
def down(
    deadline: Annotated[
        float | None, typer.Option(min=0, help="Seconds that answers may take to end (30); 0 stops at once.")
    ] = None,
) -> None:
    """Stop what `up` started, and anything that a crash has left running.

    New requests are refused from then on, and answers that run may end. Responses in the background, batches and
    resumable streams go on after the next start.
    """
    settings = LauncherSettings.read(drain_s=deadline)
    state = StateFolder.open(settings.state)
    was_running = background.stop(state, settings.drain_s, typer.echo)
    with state.locked("launcher"):
        ended = leftovers.sweep(state.path)
    typer.echo(
        "Stopped."
        if was_running
        else f"Nothing was running{', but leftovers of a crash were stopped' if ended else ''}."
    )


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, with versions.")] = False,
) -> None:
    """Show addresses and states. The exit status is 0 if the service is running, else 3."""
    from deployments.local.status import gather, lines

    found = gather(LauncherSettings.read().state.absolute())
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
    if not found["running"]:
        raise typer.Exit(3)


@app.command()
def link() -> None:
    """Print a link that opens the chat page in one more browser. It works once, within an hour."""
    from deployments.local.instance import Instance
    from deployments.local.page.link import opening_address

    state = LauncherSettings.read().state.absolute()
    found = Instance.read(state)
    if found is None or not found.page_url:
        raise LauncherError(
            f"no chat page runs here (the state folder is {state}): start it, or name its CHATLLM_STATE"
        )
    typer.echo(opening_address(found, state))


@app.command()
def doctor() -> None:
    """Check this machine and the installation. The exit status is 1 if anything would fail."""
    from deployments.local.cli.doctor import examine

    failed = False
    for finding in examine(LauncherSettings.read()):
        typer.echo(f"{finding.verdict:<5} {finding.subject}: {finding.text}")
        failed = failed or finding.verdict == "fail"
    if failed:
        raise typer.Exit(1)


app.command()(apply)
app.command()(backup)
app.command()(restore)
app.command()(monitor)
app.command()(usage)


def main() -> None:
    """Run a command; what a person can mend is one sentence on standard error and exit status 1."""
    log_to_terminal()
    try:
        app()
    except LauncherError as error:
        sys.stderr.write(f"chatllm: {error}\n")
        raise SystemExit(1) from None
