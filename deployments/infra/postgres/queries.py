"""Loads the named queries of a .sql file.

A query starts at a line `-- name: something` and ends at the next one.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(path: Path) -> Mapping[str, str]:
    """Return the queries of a file by their names; ValueError if one name stands twice."""
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    names, texts = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: a query's name occurs twice: {names}")
    return {name: text.strip() for name, text in zip(names, texts, strict=True)}
