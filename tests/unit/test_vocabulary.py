"""The code, the tests and the documentation use the field's words, one for each thing.

`NAMES` may not be part of an identifier, `PHRASES` not of any line. Where one is meant in its ordinary sense, its
line contains a text of `ORDINARY`.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("deployments", "loadtests", "demo_model", "tests", "docs", "configs", "ui")
SUFFIXES = {".py", ".md", ".yaml", ".lua", ".sql"}
NAMES = {
    "flight": "coalescing",
    "flies": "is_in_flight",
    "led": "leader",
    "introduced": "authenticated",
    "wish": "query",
    "holder": "owner",
    "lap": "mark",
    "lent": "borrowed",
    "lending": "borrowed",
    "border": "errors, boundary",
    "seek": "lookup",
    "sought": "looked_up",
    "consult": "lookup_similar",
    "consulted": "result",
    "consultant": "client",
    "reason_against": "bypass_reason",
    "in_words": "describe",
}
"""What a name may not contain, and what it says instead."""
PRODUCT_NAMES = {
    "said": "text, message, output",
    "told": "report, notice",
}
"""The same, of everything but the tests."""
PAGE_AND_LOADTEST_NAMES = {"asked": "question, request, options", "prose": "markdown, text", "gate": "limiter"}
"""The same, of the page and the load tests."""
ORDINARY_NAMES = {
    "in_flight": "requests that run now, a field of the API",
    "seek": "of a file",
    "SEEK_END": "of a file",
    "border": "of a box on the page",
    "_holder": "the process that has a port",
    "holders": "processes that have a file open",
    "holder": "the process that has the state folder's lock",
}
PHRASES = {
    r"\bleaves with \d": "exits with status",
    r"\bcan not\b": "cannot",
    r"\btime is over\b": "has expired",
    r"\bwithout end\b": "never expires",
    r"\b(?:LentKeys|Wish|Introduced)\b": "see NAMES",
    r"\b(?:a|the|each|every|its|one) flight\b": "a generation",
    r"\bBLE001 - the border\b": "the boundary",
    r"\blet(?:s|ting)? go of\b": "close, release",
    r"\bthat (?:is|are) no more\b": "deleted",
    r"\bone's own\b": "the key's, an external",
    r"\bwhat is to be written\b": "the text to write",
    r"\b(?:is|are) no (?:text|number|name|JSON|folder|list|matrix|revision)\b(?! in | of | for | that)": "is not a",
}


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [path for path in (*found, *texts) if path != Path(__file__) and "results" not in path.parts]


def identifiers(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[:5] != "test_":
            yield node.name


HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@cache
def words(identifier: str) -> str:
    """Return the words of an identifier, `_` around each."""
    snake = HUMP.sub("_", identifier).lower()
    return f"_{snake.strip('_')}_"


def house_words(path: Path) -> dict[str, str]:
    """Return the words that the names in a file may not contain, and what they say instead."""
    folder = path.relative_to(ROOT).parts[0]
    found = NAMES if folder == "tests" else NAMES | PRODUCT_NAMES
    return found | PAGE_AND_LOADTEST_NAMES if folder in ("ui", "loadtests") else found


def test_no_identifier_is_a_house_word() -> None:
    found: set[str] = set()
    for path in files():
        if path.suffix != ".py":
            continue
        house = house_words(path)
        for name in set(identifiers(path)) - ORDINARY_NAMES.keys():
            of_name = words(name).replace("_in_flight_", "_")
            better = [better for word, better in house.items() if f"_{word}_" in of_name]
            found |= {f"{path.relative_to(ROOT)}: {name} ({each})" for each in better}
    assert found == set()


def test_no_class_of_the_page_is_a_house_word() -> None:
    sheets = [path.read_text() for path in (ROOT / "ui" / "static").glob("*.css")]
    classes = {name for sheet in sheets for name in re.findall(r"\.([a-z][a-z-]*)", sheet)}
    house = {*NAMES, *PRODUCT_NAMES, *PAGE_AND_LOADTEST_NAMES}
    assert classes and not {name for name in classes if house & set(name.split("-"))}


def test_no_module_is_named_by_a_house_word() -> None:
    found = {path for path in files() if any(f"_{word}_" in words(path.stem) for word in NAMES)}
    assert found == set()


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_a_house_phrase(phrase: str) -> None:
    pattern = re.compile(phrase)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        if pattern.search(text(path))
        for number, line in enumerate(text(path).splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_words_of_an_identifier_are_seen() -> None:
    assert words("BorderLine") == "_border_line_" and words("_lent_keys") == "_lent_keys_"
    assert "_lent_" not in words("silent")
