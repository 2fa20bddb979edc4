"""`GET /openapi.json` and `GET /docs`: this API, described by itself. Both need no key.

The page is made here, whole, out of the document: it loads nothing from anywhere
and runs no script, so that it works without a network and cannot be turned
against whoever opens it.
"""

import html
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from deployments.api.http.replies import JSON

router = APIRouter(include_in_schema=False)

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d8dce2, #3a3f47); --quiet: light-dark(#5a6472, #9aa4b2);
  --soft: light-dark(#f5f6f8, #1d2025); --mark: light-dark(#0b57d0, #8ab4f8); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#fff, #131518); color: light-dark(#1a1d21, #e4e7eb); }
code, pre { font: 0.875em/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: 0.75rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 8px; margin: 0.5rem 0; padding: 0.5rem 0.75rem; }
summary { cursor: pointer; } summary span, .quiet { color: var(--quiet); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top;
  padding: 0.25rem 0.75rem 0.25rem 0; border-top: 1px solid var(--line); }
a { color: var(--mark); } h2 { margin-top: 2.5rem; }
"""


@router.get("/openapi.json", response_model=None)
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSON(request.app.openapi(), 200, HEADERS)


@router.get("/docs", response_model=None)
async def docs(request: Request) -> Response:
    """Return the OpenAPI document for people."""
    return HTMLResponse(page(request.app.openapi()), 200, HEADERS)


def page(document: Mapping[str, Any]) -> str:
    """Return the page that shows an OpenAPI document."""
    title, schemas = _text(document["info"]["title"]), document["components"]["schemas"]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["more"])[0]
            groups.setdefault(tag, []).append("".join(_operation(method.upper(), path, operation)))
    parts = [f"<h2>{_text(tag.title())}</h2>{''.join(operations)}" for tag, operations in groups.items()]
    shapes = "".join(_shape(name, schema) for name, schema in schemas.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}</h1>{_prose(document['info'].get('description', ''))}"
        f'<p><a href="openapi.json">openapi.json</a> is this page for programs.</p>'
        f"{''.join(parts)}<h2>Shapes</h2>{shapes}</html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    key = "" if operation.get("security") != [] else " <span>no key needed</span>"
    yield (
        f"<details><summary><code><b>{method}</b> {_text(path)}</code> "
        f"<span>{_text(operation.get('summary', ''))}</span>{key}</summary>"
    )
    yield _prose(operation.get("description", ""))
    if parameters := operation.get("parameters"):
        yield _table(
            ("parameter", "in", "type", ""),
            [
                (_code(p["name"]), _text(p["in"]), _type(p["schema"]), _prose(p.get("description", "")))
                for p in parameters
            ],
        )
    if body := operation.get("requestBody"):
        yield f"<h4>Body</h4>{_content(body['content'])}"
    yield "<h4>Answers</h4>" + _table(
        ("status", "", ""),
        [
            (_code(status), _prose(response["description"]), _content(response.get("content", {})))
            for status, response in operation["responses"].items()
        ],
    )
    yield "</details>"


def _content(content: Mapping[str, Any]) -> str:
    return "".join(
        f"<p>{_code(kind)} {_type(media.get('schema') or _data(media))}</p>{_example(media)}"
        for kind, media in content.items()
    )


def _data(media: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of what a server-sent event carries."""
    return media["itemSchema"]["properties"]["data"]["anyOf"][-1]["contentSchema"] if "itemSchema" in media else {}


def _example(media: Mapping[str, Any]) -> str:
    if "example" not in media:
        return ""
    return f"<pre>{_text(orjson.dumps(media['example'], option=orjson.OPT_INDENT_2).decode())}</pre>"


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (_code(field), _type(shape) + ("" if field in required else ' <span class="quiet">optional</span>'))
        for field, shape in schema.get("properties", {}).items()
    ]
    return (
        f'<details id="{_text(name)}"><summary><code>{_text(name)}</code></summary>'
        f"{_prose(schema.get('description', ''))}{_table(('field', 'type'), rows) if rows else ''}</details>"
    )


def _type(schema: Mapping[str, Any]) -> str:
    """Return a short name of a schema, with links to the shapes it names."""
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_type(shape) for shape in schema[union])
    if "enum" in schema:
        return " or ".join(_code(orjson.dumps(value).decode()) for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]}" for key, word in BOUNDS.items() if key in schema]
    return _code(str(kind)) + (f" ({', '.join(bounds)})" if bounds else "")


BOUNDS = {
    "minimum": "from",
    "maximum": "to",
    "maxLength": "length to",
    "minLength": "length from",
    "maxProperties": "entries to",
}


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_marked(part)}</p>" for part in text.split("\n\n") if part.strip())


def _marked(text: str) -> str:
    """Return `text` with what stands between backticks as code."""
    return "".join(_code(part) if at % 2 else _text(part) for at, part in enumerate(text.split("`")))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    return html.escape(text)
