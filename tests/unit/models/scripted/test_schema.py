from typing import Any

import jsonschema
import pytest

from deployments.errors import BadRequest
from deployments.models.scripted.prompt import Offer
from deployments.models.scripted.schema import instance

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "leaves": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
        }
    },
}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": ["null", "integer"]},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "integer", "minimum": 100, "multipleOf": 7},
    {"type": "integer", "maximum": -3},
    {"type": "string", "minLength": 30},
    {"type": "string", "maxLength": 2},
    {"enum": ["a", 1, None]},
    {"const": {"x": [1]}},
    {"const": None},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
    {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"type": "object", "properties": {"a": {"type": "null"}, "b": True}, "required": ["b", "c"]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"type": "string"}}}], "$defs": {"a": {"required": ["x"]}}},
    {"type": "string", "format": "date-time"},
    {"type": "array", "items": {"type": "array", "items": {"type": "object", "additionalProperties": False}}},
    {},
    TREE,
]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("prompt", ["", "Add 1 and -2.5 for 'Ann' in San Francisco, it's 105 today."])
def test_the_value_fits_the_schema(schema: dict[str, Any], prompt: str) -> None:
    value = instance(schema, Offer(prompt))
    jsonschema.validate(value, schema)
    assert value == instance(schema, Offer(prompt))


def test_values_come_from_the_prompt_in_its_order() -> None:
    types = {"a": "integer", "b": "number", "who": "string", "of": "string"}
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in types.items()}}
    value = instance(schema, Offer("add(3, 4.5) for 'Ann Lee' and '你好啊集团'"))
    assert value == {"a": 3, "b": 4.5, "who": "Ann Lee", "of": "你好啊集团"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.org/schema"},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "pattern": "^(a+)+$"},
        {"type": 7},
        {"properties": []},
        {"type": "object", "required": ["a"], "properties": {"a": {"type": "array", "minItems": 99, "items": TREE}}},
        "text",
    ],
)
def test_what_can_not_be_made_up_is_refused_quickly(schema: Any) -> None:
    with pytest.raises(BadRequest):
        instance(schema, Offer("some words"))
