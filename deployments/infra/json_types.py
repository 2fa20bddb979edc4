"""JSON's names of types, for errors about what a client sent."""

import re
from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "object": "object",
    "array": "array",
    "null": "null",
}


def in_json_terms(text: str) -> str:
    """Return msgspec's text with JSON's names of types in place of Python's."""

    def named(found: re.Match[str]) -> str:
        names = found[1].split(" | ")
        return " or ".join(NAMES[name] for name in names) if NAMES.keys() >= set(names) else found[0]

    return re.sub("`([^`]*)`", named, text)
