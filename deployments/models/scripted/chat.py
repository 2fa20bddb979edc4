"""The choices of a chat completion, token by token."""

import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.errors import BadRequest
from deployments.models.scripted.prompt import Offer, last_message, last_question, text_of
from deployments.models.scripted.schema import instance
from deployments.models.scripted.tools import call_deltas, tool_calls

TOKEN = re.compile(r"\S{1,64}\s{0,8}|\s{1,64}")
PIECE = re.compile(r".{1,6}", re.DOTALL)
KEY = re.compile(r"\w+")
REASONING = ("Let ", "me ", "repeat ", "that.")


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: what each of its tokens adds to the message, and why it ends."""

    deltas: list[dict[str, Any]]
    finish_reason: str
    stop_reason: str | None = None

    @property
    def reasoning_tokens(self) -> int:
        return sum("reasoning" in delta for delta in self.deltas)


def choices(request: dict[str, Any], tokens: int) -> list[Choice]:
    """Return what the model says: `tokens` words where nothing asks for another length."""
    return [_limited(_choice(request, index, tokens), request) for index in range(request.get("n") or 1)]


def chunks(answers: list[Choice], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the `choices` entry of each event: the roles, the tokens of all choices in turn, the ends."""
    shown = (request.get("top_logprobs") or 0) if request.get("logprobs") else None
    for index in range(len(answers)):
        yield _entry(index, {"role": "assistant", "content": ""})
    for step in itertools.zip_longest(*(choice.deltas for choice in answers)):
        for index, delta in enumerate(step):
            if delta is not None:
                yield _entry(index, delta, _logprobs(delta, shown))
    for index, choice in enumerate(answers):
        ending = {"stop_reason": choice.stop_reason} if choice.stop_reason else {}
        yield {**_entry(index, {}), "finish_reason": choice.finish_reason, **ending}


def _choice(request: dict[str, Any], index: int, tokens: int) -> Choice:
    thinks = request.get("reasoning_effort") not in (None, "none")
    reasoning: list[dict[str, Any]] = [{"reasoning": word} for word in REASONING if thinks]
    calls = tool_calls(request, index)
    if calls:
        is_named = isinstance(request.get("tool_choice"), dict)
        return Choice(reasoning + call_deltas(calls), "stop" if is_named else "tool_calls")
    text, finish_reason, token = _structured(request), "stop", PIECE
    if text is None:
        text, finish_reason = _repeated(request, index, tokens)
        token = TOKEN
    text, stop_reason = stopped(text, request.get("stop"))
    deltas = [{"content": part} for part in token.findall(text)]
    return Choice(reasoning + deltas, "stop" if stop_reason else finish_reason, stop_reason)


def _limited(choice: Choice, request: dict[str, Any]) -> Choice:
    most = request.get("max_completion_tokens") or request.get("max_tokens") or len(choice.deltas)
    return choice if len(choice.deltas) <= most else Choice(choice.deltas[:most], "length")


def _repeated(request: dict[str, Any], index: int, tokens: int) -> tuple[str, str]:
    most = request.get("max_completion_tokens") or request.get("max_tokens") or tokens
    words = text_of(last_message(request["messages"])).split() or ["nothing"]
    repeated = itertools.islice(itertools.cycle(words), index, index + min(most, tokens))
    return "".join(f"{word} " for word in repeated), "length" if most < tokens else "stop"


def _structured(request: dict[str, Any]) -> str | None:
    """Return the answer that the request's format demands, or None where any text will do."""
    format_, guide = request.get("response_format") or {}, request.get("structured_outputs") or {}
    offer = Offer(last_question(request["messages"]))
    match format_.get("type"):
        case "json_schema":
            schema = (format_.get("json_schema") or {}).get("schema")
            return orjson.dumps(instance({} if schema is None else schema, offer)).decode()
        case "json_object":
            keys = [phrase for phrase in offer.quoted if KEY.fullmatch(phrase)] or ["answer"]
            return orjson.dumps({key: offer.take_phrase() for key in keys}).decode()
        case _:
            pass
    if not guide:
        return None
    if guide.get("choice"):
        return str(guide["choice"][0])
    if guide.get("json") is not None:
        schema = guide["json"]
        return orjson.dumps(instance(orjson.loads(schema) if isinstance(schema, str) else schema, offer)).decode()
    raise BadRequest(f"The scripted model does not support {', '.join(guide)}.", "structured_outputs")


def stopped(text: str, stop: str | list[str] | None) -> tuple[str, str | None]:
    """Return the text before the first of the `stop` strings, and which one it was."""
    strings = [stop] if isinstance(stop, str) else stop or []
    found = min(((text.find(string), string) for string in strings if string and string in text), default=None)
    return (text[: found[0]], found[1]) if found else (text, None)


def _entry(index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _logprobs(delta: dict[str, Any], shown: int | None) -> dict[str, Any] | None:
    if shown is None or "content" not in delta:
        return None
    token = delta["content"]
    best = [_logprob(token + "~" * rank, logprob(token) - rank) for rank in range(shown)]
    return {"content": [{**_logprob(token, logprob(token)), "top_logprobs": best}]}


def _logprob(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def logprob(token: str) -> float:
    """Return a made-up log probability, always the same for the same token."""
    return -(zlib.crc32(token.encode()) % 1000 + 1) / 1000
