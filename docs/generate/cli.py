"""The command line: what `chatllm --help` tells, the targets of the Makefile, and the options of the load tests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from deployments.local.cli import app
from docs.generate.markdown import code, paragraphs, prose, table

MAKEFILE = Path(__file__).parents[2] / "Makefile"
INTRODUCTION = """
# Command line

`chatllm` is installed as `.venv/bin/chatllm`. Every command has `--help`. A command that fails prints one sentence to
standard error and exits with status 1; `chatllm status` exits with status 3 when nothing runs.
"""


def page() -> str:
    """Return the page."""
    return paragraphs(
        INTRODUCTION,
        *_sections("chatllm", typer.main.get_command(app)),
        "## make",
        '`ARGS="…"` passes options on, e.g. `make serve ARGS="--config configs/guide.yaml"`.',
        table(("target", ""), [(code(f"make {name}"), text) for name, text in targets()]),
    )


def targets() -> list[tuple[str, str]]:
    """Return the Makefile's targets with what they say of themselves."""
    return re.findall(r"^([a-z0-9-]+):[^#\n]*## (.*)$", MAKEFILE.read_text(), re.MULTILINE)


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Return every command below one, by its whole name; groups are left out."""
    for part, inside in getattr(command, "commands", {}).items():
        if hasattr(inside, "commands"):
            yield from commands(f"{name} {part}", inside)
        elif not inside.hidden:
            yield f"{name} {part}", inside


def _sections(name: str, command: Any) -> Iterator[str]:
    for whole, inside in commands(name, command):
        shown = [option for option in inside.params if not getattr(option, "hidden", False)]
        arguments = [_argument(part) for part in shown if part.param_type_name == "argument"]
        options = ["[OPTIONS]"] if len(shown) > len(arguments) else []
        rows = [(_names(part), _help(part)) for part in shown]
        yield f"## {whole}"
        yield f"```sh\n{' '.join([whole, *arguments, *options])}\n```"
        yield prose(inside.help)
        if rows:
            yield table(("option", ""), rows)


def _argument(argument: Any) -> str:
    return argument.metavar or (argument.name.upper() if argument.required else f"[{argument.name.upper()}]")


def _names(option: Any) -> str:
    if option.param_type_name == "argument":
        return code(_argument(option))
    return ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))


def _help(option: Any) -> str:
    default = getattr(option, "default", None)
    shown = f" Default: {code(default)}." if default and not isinstance(default, bool) and not callable(default) else ""
    return f"{option.help or ''}{shown}"
