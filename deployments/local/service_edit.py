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

from deployments.local.state import LauncherError

Tree = dict[str, Any]


def with_model(text: str, model: Tree, deployment: Tree | None) -> str:
    """Return the file's text with a model, and what Serve is to place for it, as the last of their lists."""
    wanted = _document(text)
    _application(wanted)["args"]["models"].append(model)
    text = _appended(text, ("args", "models"), model)
    if deployment is not None and _application(wanted).get("deployments"):
        _application(wanted)["deployments"].append(deployment)
        text = _appended(text, ("deployments",), deployment)
    return _checked(text, wanted)


def without_model(text: str, model: str, deployment: str) -> str:
    """Return the file's text without the model of this id and the deployment of this name."""
    wanted = _document(text)
    application = _application(wanted)
    models = _without(application["args"]["models"], "id", model)
    text = _cut(text, ("args", "models"), "id", model)
    application["args"]["models"] = models
    if any(one.get("name") == deployment for one in application.get("deployments") or ()):
        application["deployments"] = _without(application["deployments"], "name", deployment)
        text = _cut(text, ("deployments",), "name", deployment)
    return _checked(text, wanted)


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


def _document(text: str) -> Tree:
    return cast(Tree, yaml.safe_load(text))


def _application(document: Tree) -> Tree:
    return cast(Tree, document["applications"][0])


def _without(entries: list[Tree], field: str, name: str) -> list[Tree]:
    return [entry for entry in entries if entry.get(field) != name]


def _checked(text: str, wanted: Tree) -> str:
    try:
        is_right = _document(text) == wanted
    except yaml.YAMLError:
        is_right = False
    if not is_right:
        raise LauncherError("the service file is written in a way that cannot be changed in place: edit it by hand")
    return text


def _appended(text: str, path: tuple[str, ...], entry: Tree) -> str:
    entries = _sequence(text, path)
    lines = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=100)
    end = _end_of_line(text, _last(entries).end_mark.index)
    before = text[:end] if text[:end].endswith("\n") else f"{text[:end]}\n"
    return before + textwrap.indent(lines, " " * entries.start_mark.column) + text[end:]


def _cut(text: str, path: tuple[str, ...], field: str, name: str) -> str:
    entries = _sequence(text, path)
    at = next(at for at, entry in enumerate(entries.value) if _scalar(entry, field) == name)
    dash = _dash(text, entries, at)
    return text[: text.rfind("\n", 0, dash) + 1] + text[_end_of_line(text, _last(entries.value[at]).end_mark.index) :]


def _dash(text: str, entries: yaml.SequenceNode, at: int) -> int:
    """Return where the dash of an entry stands: in the column of the first one, past comments."""
    if not at:
        return entries.start_mark.index
    column = entries.start_mark.column
    position = _end_of_line(text, _last(entries.value[at - 1]).end_mark.index)
    while text[position : position + column + 1] != " " * column + "-":
        position = text.index("\n", position) + 1
    return position + column


def _sequence(text: str, path: tuple[str, ...]) -> yaml.SequenceNode:
    """Return the list at a path within the application; it must have a line or more for each of its entries."""
    node = _value(yaml.compose(text, Loader=yaml.SafeLoader), "applications")
    node = cast(yaml.SequenceNode, node).value[0]
    for name in path:
        node = _value(node, name)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        raise LauncherError(f"`{'.'.join(path)}` of the service file is written in brackets: write it in lines first")
    return node


def _value(node: Any, name: str) -> Any:
    return next(value for key, value in node.value if key.value == name)


def _scalar(node: yaml.Node, field: str) -> str:
    found = (value.value for key, value in cast(yaml.MappingNode, node).value if key.value == field)
    return str(next(found, ""))


def _last(node: yaml.Node) -> yaml.Node:
    """Return the node with which a node's text ends: a block's own end is that of the comments behind it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _end_of_line(text: str, index: int) -> int:
    """Return where the line ends that holds the character before `index`."""
    if index and text[index - 1] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1
