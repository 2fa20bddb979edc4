"""`chatllm config`: look at the settings that change while the service runs, and change them."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from deployments.config import IngressUserConfig, Settings
from deployments.local import service_file
from deployments.local.cli.editing import file_settings, tell_and_apply, valid
from deployments.local.service_document import ingress_user_config
from deployments.local.service_edit import replace_file
from deployments.local.state import LauncherError, StateFolder
from deployments.local.user_config_edit import with_setting, without_setting

config_app = typer.Typer(
    help="Settings that change while the service runs: names of models, limits, time-outs, what is cached, the log "
    "level. NAME is written with dots: timeouts.idle_s, aliases.gpt-4o; a part that has dots itself, in double quotes.",
    no_args_is_help=True,
)

Config = Annotated[Path | None, typer.Option(help="The service file, instead of serve_config.yaml.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as timeouts.idle_s.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply it to the running service without asking.")]
ALIASES = "aliases."


@config_app.command()
def show(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show the settings that change in place, with their values; `*` marks those that the file sets in place."""
    path = file_settings(config).config
    settings, chosen = service_file.written(path), ingress_user_config(service_file.parsed(path))
    values = _in_force(settings, chosen)
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    marked = {name for name, _ in _leaves(chosen)}
    for name, value in _leaves(values):
        typer.echo(f"{'*' if name in marked else ' '} {name} = {json.dumps(value, ensure_ascii=False)}")


@config_app.command("set")
def set_(
    name: Name,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Written as in YAML: 30, true, guide, [a, b].")],
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Set one of them in the service file, and on the running service."""
    names = _names(name)
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise LauncherError(f"{value!r} cannot be read as YAML: put a text into quotes") from None
    _change(config, lambda text: with_setting(text, names, parsed), f"Set {name}", yes)


@config_app.command()
def unset(name: Name, yes: Yes = False, config: Config = None) -> None:
    """Let one of them have its default again, or what `args:` of the service file say."""
    names = _names(name)
    _change(config, lambda text: without_setting(text, names), f"Unset {name}", yes)


def _change(config: Path | None, change: Callable[[str], str], done: str, yes: bool) -> None:
    settings = file_settings(config)
    service_file.written(settings.config)  # what is wrong already is not blamed on this change
    with StateFolder.open(settings.state).locked("models"):
        replace_file(settings.config, lambda text: valid(change(text), settings.config))
    tell_and_apply(f"{done} in {settings.config}.", settings, yes)


def _names(name: str) -> Sequence[str]:
    """Return the parts of a name, a dotted key of TOML (https://toml.io/en/v1.0.0#keys); an alias is one part."""
    if name.startswith(ALIASES) and len(name) > len(ALIASES):
        return ALIASES.removesuffix("."), name.removeprefix(ALIASES).strip('"')
    try:
        tree: Any = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError:
        raise LauncherError(f"{name!r} is not the name of a setting, such as timeouts.idle_s") from None
    names = list[str]()
    while isinstance(tree, dict) and len(cast(dict[str, Any], tree)) == 1:
        part, tree = next(iter(cast(dict[str, Any], tree).items()))
        names.append(part)
    if tree != 0 or "\n" in name:
        raise LauncherError(f"{name!r} is not the name of a setting, such as timeouts.idle_s")
    return names


def _in_force(settings: Settings, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of what changes in place: what the file sets, else its `args:`, else the defaults."""
    every = settings.model_dump(mode="json")
    shape = IngressUserConfig().model_dump(mode="json")
    values = {name: _like(every[name], shape[name]) for name in shape if name != "models"}
    return {**values, "models": dict(chosen.get("models") or {})}


def _like(value: Any, shape: Any) -> Any:
    """Return of a section only what changes in place."""
    if isinstance(value, dict) and isinstance(shape, dict) and shape:
        return {name: _like(value[name], shape[name]) for name in shape}
    return value


def _leaves(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Return what has no parts of its own, under its dotted name."""
    found = list[tuple[str, Any]]()
    for key, value in tree.items():
        name = above + (f'"{key}"' if "." in key and above != ALIASES else key)
        if isinstance(value, dict) and value:
            found += _leaves(cast(Mapping[str, Any], value), f"{name}.")
        else:
            found.append((name, value))
    return found
