"""`chatllm cluster`: what nodes need before Ray starts on them, and whether a cluster is fit."""

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deployments.infra.ray import variables

cluster_app = typer.Typer(help="Set up the nodes of a cluster, and check them.", no_args_is_help=True)


@cluster_app.command()
def env(
    repository: Annotated[Path | None, typer.Option(help="Where the repository is on the nodes, if not here.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Without quotes and comments, as Docker reads it.")] = False,
) -> None:
    """Print the variables that every node must have before Ray starts, as an env file.

    The addresses of the stores are taken from this command's own environment.
    """
    lines = variables.plain_env_file if plain else variables.env_file
    typer.echo("\n".join(lines(os.environ, repository)))


@cluster_app.command()
def check(
    address: Annotated[str, typer.Option(help="The cluster's GCS, host:port, if not that of this machine.")] = "auto",
    here: Annotated[bool, typer.Option("--here", help="Check this machine alone, before Ray starts on it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings and nodes as JSON.")] = False,
) -> None:
    """Check the nodes of a running Ray cluster, before or after a deployment. Run it on one of them.

    Checked are connections between nodes, versions, settings, tokens, stores, HAProxy, ports and clocks. The exit
    status is 1 if anything would fail.
    """
    from deployments.local.cluster import judge, survey

    with contextlib.redirect_stdout(sys.stderr):  # where Ray prints what it hears of nodes
        found = survey.here() if here else survey.survey(address)
    findings = judge.judge(found)
    is_fit = all(finding.verdict != "fail" for finding in findings)
    if as_json:
        nodes = [asdict(report) for report in found.nodes.values()]
        typer.echo(json.dumps({"fit": is_fit, "findings": [asdict(one) for one in findings], "nodes": nodes}, indent=2))
    else:
        for one in findings:
            place = f"{one.node}: " if one.node else ""
            typer.echo(f"{one.verdict:<5} {one.subject}: {place}{one.text}")
            if one.remedy:
                typer.echo(f"      → {one.remedy}")
    if not is_fit:
        raise typer.Exit(1)
