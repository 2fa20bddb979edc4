"""The API's endpoints: the OpenAPI document that the service gives of itself."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from deployments.api.routes.docs import BOUNDS
from deployments.api.server import build_http
from deployments.api.services import Services
from deployments.config import Current, Settings
from docs.generate.markdown import code, paragraphs, prose, table

INTRODUCTION = """
# API

Every request but those marked *no key* carries one: `Authorization: Bearer sk-chatllm-…`. `api-key` and `x-api-key`,
which clients of Azure and Anthropic send, count as well, in this order. HEAD is answered wherever GET is.

A running service describes itself in full, with the schema of every field: `/docs` for people, `/openapi.json` for
programs. Neither needs a key. What the endpoints do together is told in [Requests and headers](requests.md),
[Conversations](conversations.md), [Responses](responses.md) and [Messages](messages.md); errors in
[Error codes](errors.md).
"""
Operation = tuple[str, str, Mapping[str, Any]]


def page() -> str:
    """Return the page."""
    groups: dict[str, list[Operation]] = {}
    for method, path, operation in operations():
        groups.setdefault(operation["tags"][0], []).append((method, path, operation))
    sections = [f"## {tag.capitalize()}\n\n{''.join(_parts(found))}" for tag, found in sorted(groups.items())]
    return paragraphs(INTRODUCTION, *sections)


def operations() -> Iterator[Operation]:
    """Return method, path and description of every endpoint."""
    for path, methods in build_http(_never_opened, Current(Settings())).openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _never_opened() -> AbstractAsyncContextManager[Services]:
    raise AssertionError("the application is described, not started")


def _parts(found: list[Operation]) -> Iterator[str]:
    """Return one part for each operation; paths that lead to the same one share it."""
    paths: dict[tuple[str, str], list[str]] = {}
    by_key: dict[tuple[str, str], Mapping[str, Any]] = {}
    for method, path, operation in found:
        key = (method, operation["summary"])
        paths.setdefault(key, []).append(path)
        by_key[key] = operation
    for (method, _), same in paths.items():
        first, *others = sorted(same, key=lambda path: (not path.startswith("/v1"), path))
        operation = by_key[method, _]
        note = " *no key*" if operation.get("security") == [] else ""
        also = f"Also at {', '.join(map(code, others))}." if others else ""
        yield paragraphs(
            f"### {method} {first}".replace("{", "\\{"),
            f"{prose(operation['description'])}{note}",
            also,
            _parameters(operation),
            _example(operation),
        )
        yield "\n"


def _parameters(operation: Mapping[str, Any]) -> str:
    rows = [
        (code(part["name"]), _type(part["schema"]), part.get("description", ""))
        for part in operation.get("parameters", ())
        if part["in"] == "query"
    ]
    return table(("query parameter", "type", ""), rows) if rows else ""


def _example(operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    return f"```json\n{json.dumps(body, indent=2, ensure_ascii=False)}\n```" if body else ""


def _type(schema: Mapping[str, Any]) -> str:
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_type(part) for part in schema[union] if part.get("type") != "null")
    if "enum" in schema:
        return " or ".join(map(code, schema["enum"]))
    bounds = [f"{words} {schema[name]}" for name, words in BOUNDS.items() if name in schema]
    return str(schema.get("type", "anything")) + (f" ({', '.join(bounds)})" if bounds else "")
