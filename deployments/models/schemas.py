"""The bounds on a JSON schema that is to become a grammar, and the references in it.

Checked before anything is queued; what is refused is named by its place. The bounds
lie above what OpenAI's structured outputs allow (5,000 properties, 1,000 enum values,
120,000 characters of names and values, 10 levels): they only keep out what nobody
compiles. How long the rest takes is found out where it is compiled
(`vllm/grammar_check.py`). One pass over the schema, without recursion.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, cast

from deployments.errors import BadRequest

MAX_DEPTH = 64
"""Objects and lists within each other; vLLM's own bound."""
MAX_SCHEMAS = 30_000
MAX_PROPERTIES = 10_000
MAX_ENUM_VALUES = 10_000
MAX_CHARACTERS = 500_000
"""Of names, enum values, constants and patterns, together."""
MAX_PATTERN_CHARACTERS = 8_192
MAX_PLACE_CHARACTERS = 256

NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords that hold schemas by names."""
DATA = frozenset({"enum", "const", "default", "examples", "example"})
"""Keywords that hold values, not schemas."""
CHOICES = ("anyOf", "oneOf", "allOf")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a schema; where it stands is spelled out only for an error."""

    value: Any
    label: str
    depth: int
    parent: "Node | None" = None

    @property
    def place(self) -> str:
        """Its place in the request, shortened from the left if necessary."""
        labels: list[str] = []
        node: Node | None = self
        while node is not None:
            labels.append(node.label)
            node = node.parent
        whole = "".join(reversed(labels))
        return whole if len(whole) <= MAX_PLACE_CHARACTERS else f"…{whole[-MAX_PLACE_CHARACTERS:]}"

    def inner(self) -> Generator["Node"]:
        """Yield what stands directly in it and may hold schemas."""
        if isinstance(self.value, list):
            for at, part in enumerate(cast("list[Any]", self.value)):
                yield Node(part, f"[{at}]", self.depth + 1, self)
            return
        for name, part in cast("dict[str, Any]", self.value).items():
            if name in NAMED and isinstance(part, dict):
                for key, schema in cast("dict[str, Any]", part).items():
                    yield Node(schema, f".{name}.{key}", self.depth + 2, self)
            elif name not in DATA:
                yield Node(part, f".{name}", self.depth + 1, self)


def check_schema(root: Any, where: str) -> None:
    """Raise BadRequest where a schema is too large, or a reference in it leads nowhere or only to itself."""
    if isinstance(root, bool):
        return
    if not isinstance(root, dict):
        raise BadRequest(f"'{where}' must be a JSON schema.", where)
    schemas = _schemas(Node(root, where, 1), where)
    _measure(schemas, where)
    _check_references(root, schemas)


def _schemas(root: Node, where: str) -> list[Node]:
    """Return all schemas in one, itself included."""
    found: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node.value, dict | list):
            continue
        if node.depth > MAX_DEPTH:
            raise BadRequest(f"The JSON schema at '{where}' is nested more than {MAX_DEPTH} levels deep.", where)
        if isinstance(node.value, dict):
            found.append(node)
        waiting.extend(node.inner())
        if len(found) + len(waiting) > MAX_SCHEMAS * 8:
            break
    if len(found) > MAX_SCHEMAS or waiting:
        raise BadRequest(f"The JSON schema at '{where}' may hold at most {MAX_SCHEMAS} schemas.", where)
    return found


def _measure(schemas: list[Node], where: str) -> None:
    properties = values = characters = 0
    for node in schemas:
        schema: dict[str, Any] = node.value
        for name in NAMED & schema.keys():
            if isinstance(schema[name], dict):
                properties += len(schema[name])
                characters += sum(map(len, schema[name]))
        enum, pattern = schema.get("enum"), schema.get("pattern")
        if isinstance(enum, list):
            values += len(cast("list[Any]", enum))
        characters += _characters(enum) + _characters(schema.get("const")) + _characters(pattern)
        if isinstance(pattern, str) and len(pattern) > MAX_PATTERN_CHARACTERS:
            raise BadRequest(
                f"A pattern may have at most {MAX_PATTERN_CHARACTERS} characters.", f"{node.place}.pattern"
            )
    for number, limit, what in (
        (properties, MAX_PROPERTIES, "properties"),
        (values, MAX_ENUM_VALUES, "enum values"),
        (characters, MAX_CHARACTERS, "characters of names, enum values, constants and patterns"),
    ):
        if number > limit:
            raise BadRequest(f"The JSON schema at '{where}' may have at most {limit} {what}.", where)


def _characters(value: Any) -> int:
    """Return the characters of a text, or about those of another value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(len(one) if isinstance(one, str) else len(str(one)) for one in cast("list[Any]", value))
    return 0 if value is None else len(str(value))


def _check_references(root: dict[str, Any], schemas: list[Node]) -> None:
    """Raise BadRequest for a reference to nothing, or one that leads back to itself with nothing in between.

    A schema that contains itself is fine. One that *is* itself allows no value, and a
    grammar that allows no token cannot be followed.
    """
    users: dict[int, list[int]] = {}
    open_ids: set[int] = set()
    for node in schemas:
        schema: dict[str, Any] = node.value
        if "$ref" in schema:
            needed = [resolved(root, schema["$ref"], f"{node.place}.$ref")]
        else:
            lists = [schema[name] for name in CHOICES if isinstance(schema.get(name), list) and schema[name]]
            needed = list(cast("list[Any]", lists[0])) if lists else []
        if needed and all(isinstance(part, dict) for part in needed):
            open_ids.add(id(schema))
            for part in needed:
                users.setdefault(id(part), []).append(id(schema))
    settled = [key for key in users if key not in open_ids]
    while settled:
        for user in users.get(settled.pop(), ()):
            if user in open_ids:
                open_ids.discard(user)
                settled.append(user)
    for node in schemas:
        if id(node.value) in open_ids and "$ref" in node.value:
            raise BadRequest(f"The JSON schema at '{node.place}' refers only to itself: nothing fits it.", node.place)


def resolved(root: dict[str, Any], reference: Any, where: str) -> Any:
    """Return what a reference leads to; raises BadRequest where that is nothing in this schema."""
    if not isinstance(reference, str):
        raise BadRequest(f"'{where}' must be a string.", where)
    if reference != "#" and not reference.startswith("#/"):
        raise BadRequest(f"'{where}' must refer to a place in the same schema: '#' or '#/…'.", where)
    found: Any = root
    for step in reference.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = cast("dict[str, Any]", found).get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict | bool):
        raise BadRequest(f"'{where}' refers to {reference[:200]!r}, which the schema does not hold.", where)
    return cast("Any", found)
