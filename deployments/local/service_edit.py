"""Adding and removing a model in the service file, line by line, so that all else of it stays as it is written.

PyYAML tells where each node of the file stands; lines are put in or taken out there,
and the result is read again and compared with what was meant before it replaces the file.
"""

import os
import stat
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml

from deployments.config import model_of
from deployments.local.service_document import (
    MODEL_PATH,
    Tree,
    is_model,
    is_single,
    main_application,
    model_applications,
)
from deployments.local.state import LauncherError


def with_model(text: str, model: Tree, deployment: Tree | None) -> str:
    """Return the file's text with a model, and what Serve is to place for it, as the last of their lists."""
    wanted = parsed_text(text)
    if not is_single(wanted):
        application: Tree = {"name": model_of(model).deployment, "import_path": MODEL_PATH, "route_prefix": None}
        application |= {"args": model} | ({"deployments": [deployment]} if deployment else {})
        wanted["applications"].append(application)
        return checked(_appended(text, ("applications",), application), wanted)
    main, at = main_application(wanted), main_at(wanted)
    main["args"]["models"].append(model)
    text = _appended(text, (*at, "args", "models"), model)
    if deployment is not None and main.get("deployments"):
        main["deployments"].append(deployment)
        text = _appended(text, (*at, "deployments"), deployment)
    return checked(text, wanted)


def without_model(text: str, model: str, deployment: str) -> str:
    """Return the file's text without the model of this id and the deployment of this name."""
    wanted = parsed_text(text)
    if not is_single(wanted):
        application = next(one for one in model_applications(wanted) if one["args"]["id"] == model)
        wanted["applications"].remove(application)
        return checked(_cut(text, ("applications",), "name", str(application["name"])), wanted)
    main, at = main_application(wanted), main_at(wanted)
    models = _without(main["args"]["models"], "id", model)
    text = _cut(text, (*at, "args", "models"), "id", model)
    main["args"]["models"] = models
    if any(one.get("name") == deployment for one in main.get("deployments") or ()):
        main["deployments"] = _without(main["deployments"], "name", deployment)
        text = _cut(text, (*at, "deployments"), "name", deployment)
    return checked(text, wanted)


def replace_file(path: Path, change: Callable[[str], str]) -> None:
    """Replace a file by what `change` makes of its text, whole or not at all; LauncherError if it cannot be written."""
    path = path.resolve()
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
            new = change(file.read())
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(new)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise LauncherError(f"cannot change {path}: {error.strerror}") from None


def parsed_text(text: str) -> Tree:
    """Return what a file's text says."""
    return cast(Tree, yaml.safe_load(text))


def main_at(document: Tree) -> tuple[str | int, ...]:
    """Return the path of the application of ingress and cache."""
    return "applications", next(at for at, one in enumerate(document["applications"]) if not is_model(one))


def _without(entries: list[Tree], field: str, name: str) -> list[Tree]:
    return [entry for entry in entries if entry.get(field) != name]


def checked(text: str, wanted: Tree) -> str:
    """Return a changed text if it says what is wanted; LauncherError else."""
    try:
        is_right = parsed_text(text) == wanted
    except yaml.YAMLError:
        is_right = False
    if not is_right:
        raise LauncherError("the service file is written in a way that cannot be changed in place: edit it by hand")
    return text


def _appended(text: str, path: tuple[str | int, ...], entry: Tree) -> str:
    entries = sequence_at(text, path)
    lines = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=100)
    end = end_of_line(text, last_of(entries).end_mark.index)
    before = text[:end] if text[:end].endswith("\n") else f"{text[:end]}\n"
    return before + textwrap.indent(lines, " " * entries.start_mark.column) + text[end:]


def _cut(text: str, path: tuple[str | int, ...], field: str, name: str) -> str:
    entries = sequence_at(text, path)
    at = next(at for at, entry in enumerate(entries.value) if _scalar(entry, field) == name)
    dash = _dash(text, entries, at)
    return text[: text.rfind("\n", 0, dash) + 1] + text[end_of_line(text, last_of(entries.value[at]).end_mark.index) :]


def _dash(text: str, entries: yaml.SequenceNode, at: int) -> int:
    """Return where the dash of an entry stands: in the column of the first one, past comments."""
    if not at:
        return entries.start_mark.index
    column = entries.start_mark.column
    position = end_of_line(text, last_of(entries.value[at - 1]).end_mark.index)
    while text[position : position + column + 1] != " " * column + "-":
        position = text.index("\n", position) + 1
    return position + column


def sequence_at(text: str, path: tuple[str | int, ...]) -> yaml.SequenceNode:
    """Return the list at a path within the file, which must have a line or more for each of its entries."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in path:
        node = node.value[name] if isinstance(name, int) else _value(node, name)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        raise LauncherError(
            f"`{'.'.join(map(str, path))}` of the service file is written in brackets: write it in lines first"
        )
    return node


def _value(node: Any, name: str) -> Any:
    return next(value for key, value in node.value if key.value == name)


def _scalar(node: yaml.Node, field: str) -> str:
    found = (value.value for key, value in cast(yaml.MappingNode, node).value if key.value == field)
    return str(next(found, ""))


def last_of(node: yaml.Node) -> yaml.Node:
    """Return the node with which a node's text ends: a block's own end is that of the comments behind it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def end_of_line(text: str, index: int) -> int:
    """Return where the line ends that holds the character before `index`."""
    if index and text[index - 1] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1
