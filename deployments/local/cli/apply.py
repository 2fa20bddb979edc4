"""`chatllm apply`: bring a changed service file into force on what runs."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from deployments.local.instance import Instance
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.steps import steps_for

if TYPE_CHECKING:  # they import Ray, which takes the other commands' seconds
    from deployments.local.apply.cluster import Cluster
    from deployments.local.apply.target import Target
    from deployments.local.service_document import Tree

DEFAULT_TIMEOUT_S = 600.0

File = Annotated[Path | None, typer.Argument(help="The service file, instead of the one that the service runs with.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def apply(
    file: File = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen, and change nothing.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds until all is healthy; then the change is taken back.")
    ] = DEFAULT_TIMEOUT_S,
    address: Annotated[
        str, typer.Option(help="Ray's dashboard of a cluster, instead of the service of this machine.")
    ] = "",
) -> None:
    """Change the running service to what a service file says: show the plan, ask, and follow the change to its end.

    What does not become healthy is taken back, and the exit status is 1.
    """
    if address:
        apply_to_cluster(address, file, yes=yes, dry_run=dry_run, timeout_s=timeout)
    else:
        apply_here(file, yes=yes, dry_run=dry_run, timeout_s=timeout)


def apply_to_cluster(address: str, file: Path | None, *, yes: bool, dry_run: bool, timeout_s: float) -> None:
    """Change what a cluster serves; LauncherError if nothing was changed, or it was taken back."""
    from deployments.local.apply import target
    from deployments.local.apply.cluster import Cluster, token_of_environment

    config = (file or LauncherSettings.read().config).absolute()
    with ExitStack() as stack:
        cluster = Cluster(address, token_of_environment())
        stack.callback(cluster.close)
        deployed = cluster.first().document
        new = target.for_cluster(config, deployed)
        _apply(cluster, deployed, new, {}, yes=yes, dry_run=dry_run, timeout_s=timeout_s)


def apply_here(
    file: Path | None, *, yes: bool = False, dry_run: bool = False, timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Change the service that runs from this state folder; LauncherError if nothing was changed, or it was taken back.

    The file is then also that of its next life, should Ray have to be started again.
    """
    from deployments.local.apply import target
    from deployments.local.apply.cluster import Cluster
    from deployments.local.ray import load_times
    from deployments.local.ray.part import TOKEN, config_path

    state = StateFolder.open(LauncherSettings.read().state)
    record = Instance.read(state.path)
    if record is None:
        raise LauncherError(f"no service runs from {state.path}: start it (make serve), or name a cluster by --address")
    if record.phase in ("starting", "draining", "stopping"):
        raise LauncherError(f"the service is {record.phase}: apply the file once it answers")
    config = (file or (Path(record.config) if record.config else LauncherSettings.read().config)).absolute()
    with state.locked("apply"), ExitStack() as stack:
        token = (state.path / TOKEN).read_text(encoding="utf-8").strip()
        cluster = Cluster(record.dashboard_url, token)
        stack.callback(cluster.close)
        deployed = cluster.first().document
        new = target.for_instance(record, state, config, deployed, steps_for(sys.stdout))
        took_s = load_times.read(state.path)
        if _apply(cluster, deployed, new, took_s, yes=yes, dry_run=dry_run, timeout_s=timeout_s):
            _replace(config_path(state.path), new.document)


def _apply(
    cluster: "Cluster",
    deployed: "Tree",
    new: "Target",
    took_s: dict[str, float],
    *,
    yes: bool,
    dry_run: bool,
    timeout_s: float,
) -> bool:
    """Show the plan, ask, and do it; returns whether anything was changed."""
    from deployments.local.apply.plan import lines, plan
    from deployments.local.apply.rollout import roll_out

    changes = plan(deployed, new.compared)
    if not changes:
        typer.echo("Nothing to change: the service runs with this file.")
        return False
    count = len(new.compared["applications"]) - sum(change.kind != "remove" for change in changes)
    typer.echo("\n".join(lines(changes, count, took_s)))
    if dry_run:
        return False
    if not yes:
        _ask()
    roll_out(cluster, deployed, new.document, changes, timeout_s, typer.echo)
    typer.echo("Done.")
    return True


def _ask() -> None:
    if not sys.stdin.isatty():
        raise LauncherError("the running service is as it was: there is no terminal to ask on, so confirm with --yes")
    if not typer.confirm("Apply?"):
        raise LauncherError("the running service is as it was")


def _replace(path: Path, document: "Tree") -> None:
    """Write what is deployed; Ray, should it start just now, reads the old file or the new one."""
    new = path.with_suffix(".new")
    new.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    new.replace(path)
