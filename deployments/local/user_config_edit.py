"""Setting one value under `user_config:` of `Ingress` in the service file; all other lines stay as they are written."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import yaml

from deployments.local.service_document import Tree, deployments_of, main_application
from deployments.local.service_edit import checked, end_of_line, last_of, main_at, parsed_text, sequence_at
from deployments.local.state import LauncherError

INGRESS = "Ingress"
CONFIG = "user_config"

Names = Sequence[str]
"""Where a value stands below `user_config`, from the outside in."""


def with_setting(text: str, names: Names, value: Any) -> str:
    """Return the file's text with this value under `user_config:` of `Ingress`, whether or not there was one."""
    wanted, names = parsed_text(text), (CONFIG, *names)
    _put(_entry(wanted), names, value)
    return checked(_written(text, _node(text), names, value), wanted)


def without_setting(text: str, names: Names) -> str:
    """Return the file's text without this value, and without what is left empty; LauncherError if it has none."""
    wanted = parsed_text(text)
    gone = _removed(_entry(wanted), (CONFIG, *names))
    return checked(_cut(text, _node(text), gone), wanted)


def _entry(document: Tree) -> Tree:
    found = [one for one in deployments_of(main_application(document)) if one.get("name") == INGRESS]
    if not found:
        raise LauncherError(
            f"the service file says nothing of `{INGRESS}`: add `- name: {INGRESS}` to the `deployments:` of the "
            "application of ingress and cache first"
        )
    return found[0]


def _put(tree: Tree, names: Names, value: Any) -> None:
    *above, last = names
    for name in above:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value


def _removed(tree: Tree, names: Names) -> Names:
    """Take out a value, or the outermost mapping that would be left empty, and return the names of what is gone."""
    branch: list[Any] = [tree]
    for name in names:
        if not isinstance(branch[-1], dict) or name not in branch[-1]:
            raise LauncherError(f"the service file does not set {'.'.join(names[1:])} under `{CONFIG}`")
        branch.append(branch[-1][name])
    depth = len(names) - 1
    while depth and len(branch[depth]) == 1:
        depth -= 1
    del branch[depth][names[depth]]
    return names[: depth + 1]


def _node(text: str) -> yaml.MappingNode:
    """Return the entry of `Ingress` among the deployments as it stands in the file."""
    entries = sequence_at(text, (*main_at(parsed_text(text)), "deployments")).value
    return next(cast(yaml.MappingNode, one) for one in entries if _scalar(_found(one, "name")) == INGRESS)


def _written(text: str, mapping: yaml.MappingNode, names: Names, value: Any) -> str:
    name, *below = names
    if mapping.flow_style:
        return _replaced(text, mapping, lambda tree: _put(tree, names, value))
    at = _found(mapping, name)
    if isinstance(at, yaml.MappingNode) and at.value and below:
        return _written(text, at, below, value)
    for outer in reversed(below):
        value = {outer: value}
    if at is not None:
        return text[: at.start_mark.index] + _spaced(text, at) + _flow(value) + text[_end(at) :]
    end = end_of_line(text, last_of(mapping).end_mark.index)
    before = text[:end] if text[:end].endswith("\n") else f"{text[:end]}\n"
    return f"{before}{' ' * mapping.start_mark.column}{_flow(name)}: {_flow(value)}\n{text[end:]}"


def _cut(text: str, mapping: yaml.MappingNode, names: Names) -> str:
    name, *below = names
    if mapping.flow_style:
        return _replaced(text, mapping, lambda tree: _removed(tree, names))
    if below:
        return _cut(text, cast(yaml.MappingNode, _found(mapping, name)), below)
    key, value = next(pair for pair in mapping.value if pair[0].value == name)
    start, end = text.rfind("\n", 0, key.start_mark.index) + 1, end_of_line(text, last_of(value).end_mark.index)
    if text[start : key.start_mark.index].strip():  # behind the dash of its list
        raise LauncherError(f"`{name}` stands behind the dash of a list: put it into a line of its own first")
    return text[:start] + text[end:]


def _replaced(text: str, mapping: yaml.MappingNode, change: Callable[[Tree], object]) -> str:
    """Return the text with a mapping in braces written anew."""
    start, end = mapping.start_mark.index, mapping.end_mark.index
    tree = cast(Tree, yaml.safe_load(text[start:end]))
    change(tree)
    return text[:start] + _flow(tree) + text[end:]


def _found(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in mapping.value if key.value == name), None)


def _scalar(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _end(node: yaml.Node) -> int:
    return last_of(node).end_mark.index


def _spaced(text: str, node: yaml.Node) -> str:
    """Return the space that an empty value lacks behind its colon."""
    return " " if text[: node.start_mark.index].endswith(":") else ""


def _flow(value: Any) -> str:
    """Return a value in one line, as it stands behind a colon."""
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return written.removesuffix("\n").removesuffix("\n...")
