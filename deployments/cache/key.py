"""Which requests may be cached, and under which key.

A request is the decoded JSON of an OpenAI chat completion request (or of the older
completion), as it goes to the model: with the messages of a stored conversation already put in. Every
field is part of the key, known or not, but for those of `NOT_IN_KEY`. Tests
walk the fields of vLLM's request, so that a new one fails until it is considered.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

from deployments.errors import BadRequest

# Raised whenever the meaning of a key or the form of an entry changes: old entries are never met again.
KEY_VERSION = "v2"

# Fields that cannot change what the model says, each with the reason.
NOT_IN_KEY: Mapping[str, str] = {
    "model": "the identity that the caller gives names the model, its weights and its engine",
    "stream": "one entry answers streamed and plain requests",
    "stream_options": "usage is kept apart and sent if asked for",
    "user": "a label for the caller's own records; vLLM ignores it",
    "safety_identifier": "a label, as `user` is",
    "metadata": "a label for the caller's own records",
    "request_id": "names the request; a replay gets a fresh id",
    "session_id": "a hint for routing",
    "priority": "decides when, not what",
    "prompt_cache_key": "a hint for the prefix cache of hosted models",
    "prompt_cache_retention": "a hint for the prefix cache of hosted models",
    "store": "says whether this service remembers the conversation",
    "conversation": "its messages are already in `messages`",
    "parent": "its messages are already in `messages`",
}

# Here the order of keys and the spelling of numbers reach the prompt or the grammar of the answer
# (a chat template prints a tool's schema as it stands; guided decoding follows the order of properties).
VERBATIM = frozenset(
    {"tools", "functions", "response_format", "structured_outputs", "documents", "chat_template_kwargs"}
)

# The request moves state between engines: an answer from the cache would leave that undone.
SIDE_EFFECTS = frozenset({"kv_transfer_params", "ec_transfer_params"})


def is_deterministic(request: Mapping[str, Any]) -> bool:
    """Say whether the same request brings the same answer: greedy decoding or a given seed, and no side effect."""
    if any(request.get(name) is not None for name in SIDE_EFFECTS):
        return False
    temperature, seed = request.get("temperature"), request.get("seed")
    greedy = isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature == 0
    return greedy or (isinstance(seed, int) and not isinstance(seed, bool))


def cache_key(tenant: str, model_identity: str, request: Mapping[str, Any], endpoint: str = "chat") -> str:
    """Return `v2:<tenant>:<model>:<SHA-256 of all>`; the shortened hashes in front let one tenant or model be purged.

    `model_identity` must name everything beside the request that shapes an
    answer: model id, revision or hash of the weights, engine arguments,
    adapter, chat template, vLLM's version. The order of keys, 1 or 1.0, and
    null or absent make no difference, except where the prompt would differ.
    Raises `BadRequest` for hundreds of brackets within each other.
    """
    try:
        text = json.dumps([KEY_VERSION, endpoint, tenant, model_identity, fields_of(request)], separators=(",", ":"))
    except RecursionError:
        raise BadRequest("The request is nested too deeply.") from None
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{key_prefix(tenant, model_identity)}{digest}"


def fields_of(request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the fields that can change the answer, by name, each spelled in one way."""
    return sorted((name, _field(name, value)) for name, value in request.items() if _counts(name, value))


def key_prefix(tenant: str, model_identity: str) -> str:
    """Return what the keys of one tenant and model begin with."""
    return f"{KEY_VERSION}:{tenant_part(tenant)}:{model_part(model_identity)}:"


def tenant_part(tenant: str) -> str:
    """Return what stands for the tenant in its keys."""
    return _short(tenant)


def model_part(model_identity: str) -> str:
    """Return what stands for the model in its keys."""
    return _short(model_identity)


def model_in_key(key: str) -> str:
    """Return the part of a key that stands for its model."""
    return key.split(":", 3)[2] if key.count(":") >= 3 else ""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _counts(name: str, value: Any) -> bool:
    return value is not None and name not in NOT_IN_KEY


def _field(name: str, value: Any) -> Any:
    return value if name in VERBATIM else _canonical(value)


def _canonical(value: Any) -> Any:
    """Sort keys and write whole floats as integers, at every depth."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return {key: _canonical(items[key]) for key in sorted(items)}
    if isinstance(value, list):
        return [_canonical(item) for item in cast("list[Any]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
