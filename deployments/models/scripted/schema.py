"""A value that fits a JSON schema (draft 2020-12, as far as OpenAI's structured outputs use it)."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from deployments.errors import BadRequest
from deployments.infra.json_types import in_json_terms
from deployments.models.scripted.prompt import Offer

MAX_VALUES = 2_000
MAX_DEPTH = 24
FULL_DEPTH = 4
"""Below this depth optional properties are left out, so that a schema which contains itself comes to an end."""
MAX_LENGTH = 10_000
PLAIN = ("null", "string", "number", "integer")
FORMATS = {
    "date": "2025-01-31",
    "time": "12:00:00Z",
    "date-time": "2025-01-31T12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    "uri": "https://example.org/",
}


class Schema(msgspec.Struct, rename={"ref": "$ref"}):
    """The keywords that are followed; all others are ignored."""

    type: str | list[str] | None = None
    const: Any = msgspec.UNSET
    enum: list[Any] | None = None
    ref: str | None = None
    anyOf: list[Any] | None = None  # noqa: N815 - JSON schema's own names
    oneOf: list[Any] | None = None  # noqa: N815
    allOf: list[Any] | None = None  # noqa: N815
    properties: dict[str, Any] | None = None
    required: list[str] | None = None
    items: Any = None
    prefixItems: list[Any] | None = None  # noqa: N815
    minItems: int = 0  # noqa: N815
    maxItems: int | None = None  # noqa: N815
    minimum: float | None = None
    maximum: float | None = None
    exclusiveMinimum: float | bool | None = None  # noqa: N815
    exclusiveMaximum: float | bool | None = None  # noqa: N815
    multipleOf: float | None = None  # noqa: N815
    minLength: int = 0  # noqa: N815
    maxLength: int | None = None  # noqa: N815
    pattern: str | None = None
    format: str | None = None


def instance(schema: Any, offer: Offer) -> Any:
    """Return a value that fits `schema`, made of what the prompt offers.

    Raises BadRequest for a schema that is malformed, too large, or asks for what
    nothing here can make up (a regular expression).
    """
    return _Making(schema, offer).value(schema, 0)


class _Making:
    def __init__(self, root: Any, offer: Offer) -> None:
        self._root = root
        self._offer = offer
        self._values = 0
        self._by_type: dict[str, Callable[[Schema, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._integer,
            "boolean": lambda _schema, _depth: True,
            "null": lambda _schema, _depth: None,
        }

    def value(self, raw: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise BadRequest("The JSON schema is too large.")
        schema = _read(raw)
        if schema.const is not msgspec.UNSET:
            return schema.const
        if schema.enum:
            return next((v for v in schema.enum if v in self._offer.quoted), schema.enum[0])
        if schema.ref is not None:
            return self.value(self._resolved(schema.ref), depth + 1)
        if alternatives := schema.anyOf or schema.oneOf:
            return self.value(_simplest(alternatives) if depth > FULL_DEPTH else alternatives[0], depth + 1)
        if schema.allOf:
            return self.value(_merged([raw, *map(self._whole, schema.allOf)]), depth + 1)
        return self._by_type.get(_type(schema), self._string)(schema, depth)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = schema.required or []
        wanted = schema.properties or {}
        wanted |= {name: {} for name in required if name not in wanted}
        if depth > FULL_DEPTH:
            wanted = {name: wanted[name] for name in required}
        return {name: self.value(part, depth + 1) for name, part in wanted.items()}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first = schema.prefixItems or []
        count = max(schema.minItems, len(first), 0 if depth > FULL_DEPTH else 1)
        count = min(count, schema.maxItems if schema.maxItems is not None else count)
        if count > MAX_VALUES:
            raise BadRequest("The JSON schema is too large.")
        more = [schema.items if isinstance(schema.items, dict) else {}] * (count - len(first))
        return [self.value(part, depth + 1) for part in [*first, *more][:count]]

    def _string(self, schema: Schema, _depth: int) -> str:
        if schema.pattern is not None:
            raise BadRequest("The scripted model cannot generate a string for a pattern.")
        if max(schema.minLength, 0) > MAX_LENGTH:
            raise BadRequest("The JSON schema is too large.")
        text = FORMATS.get(schema.format or "") or self._offer.take_phrase()
        return text.ljust(schema.minLength, "x")[: schema.maxLength]

    def _integer(self, schema: Schema, depth: int) -> int:
        return int(self._number(schema, depth, True))

    def _number(self, schema: Schema, _depth: int, is_whole: bool = False) -> float:
        bounds = _Bounds(schema, is_whole)
        found = self._offer.take_number(bounds.admit)
        for number in (found, 0, *bounds.edges()):
            if number is not None and bounds.admit(number):
                return number
        raise BadRequest("No number fits the bounds of the JSON schema.")

    def _resolved(self, ref: str) -> Any:
        found = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not ref.startswith("#") or found is None:
            raise BadRequest(f"The JSON schema refers to {ref!r}, which it does not hold.")
        return found

    def _whole(self, raw: Any) -> Any:
        ref = raw.get("$ref") if isinstance(raw, dict) else None
        return self._resolved(ref) if isinstance(ref, str) else raw


class _Bounds:
    def __init__(self, schema: Schema, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._least, self._most = schema.minimum, schema.maximum
        self._above = None if isinstance(schema.exclusiveMinimum, bool) else schema.exclusiveMinimum
        self._below = None if isinstance(schema.exclusiveMaximum, bool) else schema.exclusiveMaximum
        if schema.exclusiveMinimum is True:
            self._above = self._least
        if schema.exclusiveMaximum is True:
            self._below = self._most
        self._step = schema.multipleOf

    def admit(self, number: float) -> bool:
        return (
            not (self._is_whole and number != int(number))
            and (self._least is None or number >= self._least)
            and (self._most is None or number <= self._most)
            and (self._above is None or number > self._above)
            and (self._below is None or number < self._below)
            and (not self._step or math.isclose(number / self._step, round(number / self._step)))
        )

    def edges(self) -> list[float]:
        """Return numbers at the bounds and within them, to be tried."""
        step = self._step or 1
        lower = next((b for b in (self._least, self._above) if b is not None), None)
        upper = next((b for b in (self._most, self._below) if b is not None), None)
        tried: list[float] = []
        if lower is not None:
            tried += [lower, math.ceil(lower / step) * step, math.floor(lower / step + 1) * step]
        if upper is not None:
            tried += [upper, math.floor(upper / step) * step, math.ceil(upper / step - 1) * step]
        if lower is not None and upper is not None:
            tried.append((lower + upper) / 2)
        return tried


def _read(raw: Any) -> Schema:
    if isinstance(raw, bool):
        return Schema()
    try:
        return msgspec.convert(raw, Schema)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The JSON schema is not valid: {in_json_terms(str(error))}.") from None


def _type(schema: Schema) -> str:
    if isinstance(schema.type, list):
        return next((name for name in schema.type if name != "null"), "null")
    if schema.type is None and (schema.properties is not None or schema.required):
        return "object"
    return schema.type or "string"


def _simplest(alternatives: list[Any]) -> Any:
    plain = [part for part in alternatives if isinstance(part, dict) and part.get("type") in PLAIN]
    return (plain or alternatives)[0]


def _merged(parts: list[Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, dict):
            properties = {**(whole.get("properties") or {}), **(part.get("properties") or {})}
            required = [*(whole.get("required") or []), *(part.get("required") or [])]
            whole |= part | {"properties": properties, "required": required}
    whole.pop("allOf", None)
    return whole
