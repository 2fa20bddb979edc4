"""The command line `chatllm`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.local.state import LauncherError

app = typer.Typer(
    help="Run ChatLLM on this machine: the API, the chat page, and all that they need.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

Port = Annotated[int | None, typer.Option(min=1, max=65535)]


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once the API answers.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --detach: return once the model answers.")] = False,
    config: Annotated[Path | None, typer.Option(help="What to deploy instead of serve_config.yaml.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API (8000).")] = None,
    page_port: Annotated[int | None, typer.Option(help="Port of the chat page (8080).")] = None,
    dashboard_port: Annotated[int | None, typer.Option(help="Port of Ray's dashboard (8265).")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Do not start the chat page.")] = False,
    in_background: Annotated[bool, typer.Option("--in-background", hidden=True)] = False,
) -> None:
    """Start everything, and keep it running until Ctrl-C."""
    from deployments.local.launcher import Launcher
    from deployments.local.settings import LauncherSettings
    from deployments.local.steps import steps_for

    settings = LauncherSettings.read(
        config=config.absolute() if config else None,
        port=port,
        page_port=page_port,
        dashboard_port=dashboard_port,
        page=False if no_page else None,
    )
    steps = steps_for(sys.stdout)
    Launcher(settings, steps, announces=not in_background).run()


def main() -> None:
    """Run a command; what a person can mend is one sentence on standard error and exit status 1."""
    try:
        app()
    except LauncherError as error:
        sys.stderr.write(f"chatllm: {error}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
