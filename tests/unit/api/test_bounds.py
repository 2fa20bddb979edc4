"""What would cost a model's replica more than an answer does is refused before it is queued, by its place."""

import time
from typing import Any

import pytest

from deployments.config import ScriptedModel
from deployments.models.bounds import check_bounds
from tests.unit.api.conftest import Service, running
from tests.unit.api.test_errors import assert_error

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def wide(properties: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"property_{n}": {"type": "string"} for n in range(properties)}}


SELF = {"$ref": "#"}
CIRCLE = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}
SCHEMAS: list[tuple[Any, str]] = [
    (nested(40), ""),
    (wide(10_001), ""),
    ({"enum": [f"value {n}" for n in range(10_001)]}, ""),
    ({"type": "string", "pattern": "a" * 9_000}, ".pattern"),
    ({"const": "x" * 600_000}, ""),
    ({"anyOf": [{} for _ in range(30_001)]}, ""),
    (SELF, ""),
    (CIRCLE, ""),
    ({"allOf": [{"$ref": "#"}], "type": "object"}, ".allOf[0]"),
    ({"properties": {"a": {"$ref": "#/$defs/none"}}}, ".properties.a.$ref"),
    ({"properties": {"a": {"$ref": "https://example.org/schema"}}}, ".properties.a.$ref"),
    ({"items": {"$ref": 7}}, ".items.$ref"),
]


@pytest.mark.parametrize(("schema", "place"), SCHEMAS, ids=lambda value: str(value)[:40])
async def test_schemas_out_of_bounds_are_refused_by_their_place(service: Service, schema: Any, place: str) -> None:
    named = {"name": "s", "schema": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    forced = {"type": "function", "name": "f", "parameters": schema}
    cases = [
        (
            CHAT,
            {"response_format": {"type": "json_schema", "json_schema": named}},
            "response_format.json_schema.schema",
        ),
        (CHAT, {"structured_outputs": {"json": schema}}, "structured_outputs.json"),
        (CHAT, {"tools": [tool]}, "tools[0].function.parameters"),
        ("/v1/responses", {"text": {"format": {"type": "json_schema", **named}}}, "text.format.schema"),
        ("/v1/responses", {"tools": [forced], "tool_choice": "required"}, "tools[0].parameters"),
        ("/v1/completions", {"structured_outputs": {"json": schema}}, "structured_outputs.json"),
    ]
    for path, fields, param in cases:
        body = {"model": "quick", "messages": HELLO} if path == CHAT else {"model": "quick", "prompt": "x"}
        body = {"model": "quick", "input": "hello", "background": True} if path == "/v1/responses" else body
        began = time.process_time()  # which is the service's too, and is not other processes'
        assert_error(await service.http.post(path, json={**body, **fields}), 400, "invalid_request", param + place)
        assert time.process_time() - began < 5


def described(properties: int) -> dict[str, Any]:
    parts = {f"p{n}": {"type": "string", "description": "d" * 900} for n in range(properties)}
    return {"type": "object", "properties": parts, "required": list(parts)}


@pytest.mark.parametrize(
    "schema",
    [
        wide(5_000),
        nested(10),
        described(120),
        {"enum": ["x" * 100 + str(n) for n in range(1_000)]},
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
        {"$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}, "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#"}]},
        {"properties": {"$ref": {"type": "string"}, "enum": {"type": "string"}, "pattern": {"const": {"$ref": "#x"}}}},
        True,
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_openai_allows_passes(schema: Any) -> None:
    check_bounds("chat", {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}})


def test_a_long_chain_of_references_is_followed_in_one_pass() -> None:
    links = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(9_000)} | {"d9000": {"type": "string"}}
    began = time.process_time()
    check_bounds("chat", {"structured_outputs": {"json": {"$defs": links, "$ref": "#/$defs/d0"}}})
    assert time.process_time() - began < 1


async def test_a_tool_that_is_only_offered_may_say_what_it_likes(service: Service) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "https://example.org"}}}
    answer = await service.http.post(CHAT, json={"messages": HELLO, "tools": [tool]})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"choice": [f"{n}" for n in range(30_000)]}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["x" * 300_000]}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": [1]}}, "structured_outputs.choice"),
        ({"structured_outputs": {"regex": "a" * 20_000}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "a" * 200_000}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"structural_tag": "a" * 600_000}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"structural_tag": "{"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        (
            {"response_format": {"type": "structural_tag", "format": {"json_schema": SELF}}},
            "response_format.format.json_schema",
        ),
        ({"bad_words": ["x" * 3_900_000]}, "bad_words"),
        ({"bad_words": ["x"] * 200}, "bad_words"),
        ({"stop": ["x" * 100_000]}, "stop"),
        ({"allowed_token_ids": list(range(70_000))}, "allowed_token_ids"),
        ({"logit_bias": {str(n): 1 for n in range(20_000)}}, "logit_bias"),
        ({"stop_token_ids": list(range(2_000))}, "stop_token_ids"),
        ({"media_io_kwargs": {"audio": {"audio_backend": "pyav"}}}, "media_io_kwargs"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_other_fields_out_of_bounds_are_refused_by_name(
    service: Service, fields: dict[str, Any], param: str
) -> None:
    for path, body in ((CHAT, {"messages": HELLO}), ("/v1/completions", {"prompt": "hello"})):
        if path == CHAT or not {"response_format", "media_io_kwargs"} & set(fields):
            assert_error(await service.http.post(path, json={**body, **fields}), 400, "invalid_request", param)


async def test_a_refused_request_never_reaches_the_model() -> None:
    async with running(ScriptedModel(id="quick", kind="scripted", prefill_ms=60_000)) as service:
        body = {"messages": HELLO, "structured_outputs": {"choice": ["x"] * 30_000}}
        assert_error(await service.http.post(CHAT, json=body), 400, "invalid_request", "structured_outputs.choice")


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/completions", "prompt", [1, 100_257]),
        ("/v1/completions", "prompt", [[1], [100_257]]),
        ("/v1/embeddings", "input", [[9906, 4435]]),
        ("/v1/embeddings", "input", [9906]),
        ("/v1/detokenize", "tokens", [9906]),
    ],
)
async def test_token_ids_of_another_models_tokenizer_are_told(path: str, field: str, value: Any) -> None:
    async with running(ScriptedModel(id="quick", kind="scripted", embedding_dimensions=4)) as service:
        error = assert_error(await service.http.post(path, json={field: value}), 400, "invalid_request", field)
    assert "vocabulary of 256" in error["message"] and "/v1/tokenize" in error["message"]
