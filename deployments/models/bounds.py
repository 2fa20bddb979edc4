"""The bounds on a request to a model, checked in the ingress before anything is queued.

They hold for every kind of model. Each lies above what OpenAI's API and the models
have use for; what is kept out would only occupy the replica that all callers share.
The fields have been decoded, and those of OpenAI's are of its types already.
"""

from collections.abc import Mapping
from typing import Any, cast

import orjson

from deployments.errors import BadRequest
from deployments.models.protocol import Endpoint
from deployments.models.schemas import check_schema

MAX_CHOICES = 5_000
MAX_CHOICE_CHARACTERS = 250_000
MAX_REGEX_CHARACTERS = 16_384
MAX_GRAMMAR_CHARACTERS = 131_072
MAX_TAG_CHARACTERS = 524_288

MAX_BAD_WORDS = 128
"""vLLM takes 128 token sequences."""
MAX_BAD_WORDS_CHARACTERS = 8_192
MAX_STOP_CHARACTERS = 16_384
MAX_TOKEN_LISTS: Mapping[str, int] = {
    "logit_bias": 16_384,
    "allowed_token_ids": 65_536,
    "stop_token_ids": 1_024,
    "logprob_token_ids": 128,
}
"""Entries of what counts or names single tokens; OpenAI takes 1,024 in a `logit_bias`."""


def check_bounds(endpoint: Endpoint, request: Mapping[str, Any]) -> None:
    """Raise BadRequest, naming the field, for a request that would cost the replica more than an answer does."""
    if endpoint not in ("chat", "completion"):
        return
    check_grammars(request)
    _check_words(request)
    _check_media_options(request)
    for name, limit in MAX_TOKEN_LISTS.items():
        value = request.get(name)
        if value is not None and isinstance(value, list | dict) and len(cast("list[Any]", value)) > limit:
            raise BadRequest(f"'{name}' may have at most {limit} entries.", name)


def _check_media_options(request: Mapping[str, Any]) -> None:
    """Refuse the choice of what reads sound: FFmpeg follows what playlists name, into the operator's network."""
    options = cast("dict[str, Any]", request.get("media_io_kwargs") or {})
    audio = options.get("audio") if isinstance(options, dict) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if isinstance(audio, dict) and "audio_backend" in audio:
        raise BadRequest("'media_io_kwargs.audio.audio_backend' is the operator's to choose.", "media_io_kwargs")


def check_grammars(
    request: Mapping[str, Any],
    format_at: str = "response_format.json_schema.schema",
    tools_at: str = "tools[{}].function.parameters",
) -> None:
    """Raise BadRequest where what the answer must be like is too large or contradicts itself.

    The place is named as `format_at` and `tools_at` have it, which are those of a chat completion.
    """
    if (guide := request.get("structured_outputs")) is not None:
        _check_guide(guide)
    if (wanted := request.get("response_format")) is not None:
        _check_format(wanted, format_at)
    if tools := request.get("tools"):
        _check_tools(tools, request.get("tool_choice"), tools_at)


def _check_guide(guide: Any) -> None:
    name = "structured_outputs"
    if not isinstance(guide, dict):
        raise BadRequest(f"'{name}' must be an object.", name)
    fields = cast("dict[str, Any]", guide)
    choices = fields.get("choice")
    if choices is not None:
        _check_choices(choices, f"{name}.choice")
    if (schema := fields.get("json")) is not None:
        _check_schema(schema, f"{name}.json")
    _check_text(fields.get("regex"), MAX_REGEX_CHARACTERS, f"{name}.regex")
    _check_text(fields.get("grammar"), MAX_GRAMMAR_CHARACTERS, f"{name}.grammar")
    tag = fields.get("structural_tag")
    _check_text(tag, MAX_TAG_CHARACTERS, f"{name}.structural_tag")
    if isinstance(tag, str):
        _check_tag(_decoded(tag, f"{name}.structural_tag"), f"{name}.structural_tag")


def _check_choices(choices: Any, where: str) -> None:
    texts = cast("list[Any]", choices) if isinstance(choices, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"'{where}' must be a non-empty list of strings.", where)
    if len(texts) > MAX_CHOICES:
        raise BadRequest(f"'{where}' may have at most {MAX_CHOICES} entries.", where)
    if sum(map(len, texts)) > MAX_CHOICE_CHARACTERS:
        raise BadRequest(f"'{where}' may have at most {MAX_CHOICE_CHARACTERS} characters in total.", where)


def _check_schema(schema: Any, where: str) -> None:
    schema = _decoded(schema, where) if isinstance(schema, str) else schema
    check_schema(schema, where)


def _check_text(value: Any, limit: int, where: str) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise BadRequest(f"'{where}' must be a string.", where)
    if len(value) > limit:
        raise BadRequest(f"'{where}' may have at most {limit} characters.", where)


def _check_format(wanted: Mapping[str, Any], schema_at: str) -> None:
    match wanted.get("type"):
        case "json_schema":
            named = wanted.get("json_schema") or {}
            _check_schema(named.get("schema") or {}, schema_at)
        case "structural_tag":
            _check_tag(wanted, "response_format")
        case _:
            pass


def _check_tag(tag: Any, where: str) -> None:
    """Bound a structural tag as a whole, as a schema is: its parts may stand at any depth."""
    if not isinstance(tag, dict):
        raise BadRequest(f"'{where}' must be an object.", where)
    if len(orjson.dumps(tag)) > MAX_TAG_CHARACTERS:
        raise BadRequest(f"'{where}' may have at most {MAX_TAG_CHARACTERS} characters.", where)
    for place, schema in _tagged(cast("Any", tag), where, 0):
        _check_schema(schema, place)


def _tagged(value: Any, where: str, depth: int) -> list[tuple[str, Any]]:
    """Return the schemas in a structural tag."""
    if depth > 64:
        raise BadRequest(f"'{where[:200]}' is nested too deeply.", where[:200])
    found: list[tuple[str, Any]] = []
    if isinstance(value, list):
        for at, inner in enumerate(cast("list[Any]", value)):
            found += _tagged(inner, f"{where}[{at}]", depth + 1)
    elif isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            if name in ("schema", "json_schema"):
                found.append((f"{where}.{name}", inner))
            else:
                found += _tagged(inner, f"{where}.{name[:64]}", depth + 1)
    return found


def _check_tools(tools: list[Mapping[str, Any]], choice: Any, schema_at: str) -> None:
    """Bound the schemas of tools; those that become a grammar must also be whole."""
    is_forced = choice not in (None, "auto", "none")
    for at, tool in enumerate(tools):
        function = tool.get("function") or {}
        if choice != "none" and (is_forced or function.get("strict")):
            _check_schema(function.get("parameters") or {}, schema_at.format(at))


def _check_words(request: Mapping[str, Any]) -> None:
    words = request.get("bad_words") or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in cast("list[Any]", words)):
        raise BadRequest("'bad_words' must be a list of strings.", "bad_words")
    if len(cast("list[str]", words)) > MAX_BAD_WORDS:
        raise BadRequest(f"'bad_words' may have at most {MAX_BAD_WORDS} entries.", "bad_words")
    if sum(map(len, cast("list[str]", words))) > MAX_BAD_WORDS_CHARACTERS:
        raise BadRequest(f"'bad_words' may have at most {MAX_BAD_WORDS_CHARACTERS} characters in total.", "bad_words")
    stop = request.get("stop")
    if stop and sum(map(len, [stop] if isinstance(stop, str) else stop)) > MAX_STOP_CHARACTERS:
        raise BadRequest(f"'stop' may have at most {MAX_STOP_CHARACTERS} characters in total.", "stop")


def _decoded(text: str, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest(f"'{where}' is not valid JSON.", where) from None
