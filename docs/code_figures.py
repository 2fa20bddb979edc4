"""Prints the figures of contributing/code-map.md: `python -m docs.code_figures [FOLDER]`, by default `deployments`."""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

LONG = 50
DEEP = 4
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def length(function: Function) -> int:
    """Return how many lines a function has, without its decorators."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def depth(node: ast.AST, outside: int = 0) -> int:
    """Return how deep blocks stand in each other; an `elif` is as deep as its `if`, a function inside begins anew."""
    deepest = outside
    for child in ast.iter_child_nodes(node):
        if isinstance(child, SCOPES):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        deepest = max(deepest, depth(child, outside + (isinstance(child, BLOCKS) and not is_elif)))
    return deepest


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches every error."""
    return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id == "Exception")


def rows(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield the names and the figures of the table."""
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    lines = {path: text.count("\n") for path, text in texts.items()}
    nodes = [node for text in texts.values() for node in ast.walk(ast.parse(text))]
    functions = [node for node in nodes if isinstance(node, Function)]
    longest = max(functions, key=length)
    largest = max(lines, key=lines.__getitem__)
    deep = sum(depth(function) >= DEEP for function in functions)
    broad = sum(isinstance(node, ast.ExceptHandler) and is_broad(node) for node in nodes)
    total = sum(lines.values())
    yield "files, lines", f"{len(paths)}, {total:,}"
    yield "largest file", f"{lines[largest]} (`{largest}`)"
    yield "median module", f"{statistics.median(lines.values()):g} lines"
    yield "functions, median length", f"{len(functions):,}, {statistics.median(map(length, functions)):g} lines"
    yield "longest function", f"{length(longest)} lines (`{longest.name}`)"
    yield "functions over 50 lines", str(sum(length(function) > LONG for function in functions))
    yield "nested four or more deep", f"{deep} ({deep / len(functions):.1%})"
    yield "broad excepts per 1,000 lines", f"{broad / total * 1000:.1f}"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "deployments")
    for name, figure in rows(sorted(folder.rglob("*.py"))):
        sys.stdout.write(f"| {name} | {figure} |\n")
