"""Streamed responses through the openai SDK: background responses, which continue without a client.

Importing the SDK takes longer than everything else in this process, so that only
`app` imports this module, in a thread, once the page can already be served.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any, cast

import httpx2
import openai
import orjson
from openai import AsyncAPIResponse
from openai.types.responses import ResponseInputParam

from ui.api import tracing
from ui.api.errors import ApiError, from_body
from ui.api.stream import Answering, Delta, Event, Finished, Question, Queued, Started
from ui.files.images import content_parts
from ui.settings import KeyMissing, Settings

CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 150.0  # longer than the service's own timeout; after it the connection counts as lost
CALL_TIMEOUT_S = 10.0
REJOIN_FOR_S = 60.0
REJOIN_PAUSE_S = 0.2  # doubles while nothing arrives
MAX_REJOIN_PAUSE_S = 2.0
QUEUED = re.compile(r": waiting in the queue, position (\d{1,9})(?:, about (\d{1,9}) s)?$")
"""What the service says while a request waits for a busy model, in a comment of the event stream."""
PASSING = frozenset({"unreachable", "too_slow", "cut_off", "unexpected", "rate_limit_exceeded"})
"""Errors, besides the service's own failures, that may pass while it continues to generate the answer."""

Stream = AbstractAsyncContextManager[AsyncAPIResponse[Any]]


class Completions:
    """Answers from the service, over one connection pool.

    A question is sent once and never retried; a stream that breaks is resumed.
    """

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key
        self._sdk = openai.AsyncOpenAI(
            base_url=f"{settings.api_url}/v1",
            api_key=settings.api_key.read,
            max_retries=0,
            timeout=openai.Timeout(IDLE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
        )

    async def aclose(self) -> None:
        """Close the pool."""
        await self._sdk.close()

    async def ask(self, question: Question) -> AsyncGenerator[Event]:
        """Yield `Started`, `Answering`, `Delta`s, and `Finished`. Raises `ApiError`."""
        reading = _Reading()
        with tracing.answering(question.model) as headers:
            async with aclosing(self._followed(self._start(question, headers), reading)) as events:
                async for event in events:
                    yield event

    async def take_up(self, response_id: str) -> AsyncGenerator[Event]:
        """Yield the events of an answer from its beginning. Raises `ApiError`."""
        reading = _Reading(response_id)
        async with aclosing(self._followed(self._rejoined(reading), reading)) as events:
            async for event in events:
                yield event

    async def cancel(self, response_id: str) -> None:
        """Stop an answer. Raises `ApiError`."""
        with self._translated():
            await self._sdk.responses.cancel(response_id, timeout=CALL_TIMEOUT_S)

    async def _followed(self, stream: Stream, reading: "_Reading") -> AsyncGenerator[Event]:
        """Read the stream and resume it from the next event when it breaks, until nothing has arrived for a minute."""
        reached_at, pause_s = time.monotonic(), REJOIN_PAUSE_S
        while True:
            number = reading.number
            try:
                async with aclosing(self._read(stream, reading)) as events:
                    async for event in events:
                        yield event
                if reading.is_over:
                    return
                raise ApiError("cut_off")
            except ApiError as error:
                error.request_id = error.request_id or reading.request_id
                if reading.is_over or not reading.response_id or not _may_pass(error):
                    raise
                if reading.number > number:
                    reached_at, pause_s = time.monotonic(), REJOIN_PAUSE_S
                if time.monotonic() - reached_at > REJOIN_FOR_S:
                    raise ApiError("cut_off", request_id=reading.request_id) from error
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_REJOIN_PAUSE_S, 2 * pause_s)
            stream = self._rejoined(reading)

    async def _read(self, stream: Stream, reading: "_Reading") -> AsyncGenerator[Event]:
        with self._translated():
            async with stream as response:
                reading.request_id = reading.request_id or response.headers.get("x-request-id", "")
                async for line in response.iter_lines():
                    for event in reading.events(line):
                        yield event

    def _start(self, question: Question, headers: dict[str, str]) -> Stream:
        return self._sdk.responses.with_streaming_response.create(
            model=question.model,
            input=_input(question),
            conversation=question.conversation_id,
            background=True,
            stream=True,
            truncation="auto",
            extra_body=_extension(question),
            extra_headers=headers,
        )

    def _rejoined(self, reading: "_Reading") -> Stream:
        after = openai.omit if reading.number < 0 else reading.number
        return self._sdk.responses.with_streaming_response.retrieve(
            reading.response_id, stream=True, starting_after=after
        )

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Raise `ApiError` for every failure of the SDK and of the connection."""
        try:
            yield
        except KeyMissing as error:
            raise ApiError("no_key", str(error)) from error
        except openai.APIStatusError as error:
            if isinstance(error, openai.AuthenticationError):
                self._key.forget(error.request.headers.get("authorization", "").removeprefix("Bearer "))
            raise from_body(error.status_code, error.response.headers, error.body) from error
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            raise ApiError("too_slow") from error
        except openai.APIError as error:
            raise ApiError("unreachable") from error
        except httpx2.HTTPError as error:  # the SDK translates only what happens before the first byte
            raise ApiError("cut_off") from error


def _may_pass(error: ApiError) -> bool:
    return error.code in PASSING or error.status >= 500 or error.code == "history_unavailable"


def _input(question: Question) -> ResponseInputParam:
    if question.continues:
        return [{"role": "assistant", "content": question.continues}]
    items: ResponseInputParam = [{"role": "user", "content": content_parts(question.text)}]
    return [{"role": "system", "content": question.system}, *items] if question.system else items


def _extension(question: Question) -> dict[str, Any]:
    """Return the chosen parameters, plus what OpenAI's API lacks: a branch, and vLLM's way to continue an answer."""
    fields: dict[str, Any] = dict(question.parameters.fields)
    if "max_tokens" in fields:
        fields["max_output_tokens"] = fields.pop("max_tokens")
    if question.parent is not None:
        fields["parent"] = question.parent
    if question.continues:
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    return fields


class _Reading:
    """How far an answer has been read; `number` is that of the last event.

    The SDK's own stream builds a pydantic object for every token: 0.9 ms of CPU, four
    fifths of all that this process does. Reading the few fields that matter takes 0.03 ms.
    """

    def __init__(self, response_id: str = "") -> None:
        self.response_id = response_id
        self.request_id = ""
        self.number = -1
        self.is_over = False

    def events(self, line: str) -> list[Event]:
        """Read one line of the event stream. Raises `ApiError` if it reports a failure."""
        if (found := QUEUED.match(line)) is not None:
            return [Queued(int(found[1]), float(found[2]) if found[2] else None)]
        payload = _payload_of(line)
        if payload.get("error") and "type" not in payload:  # the stream's failure, not the answer's
            raise from_body(0, {}, payload)
        self.number = max(self.number, int(payload.get("sequence_number", -1)))
        match payload.get("type"):
            case "response.created":
                self.response_id = payload["response"]["id"]
                return [Started(self.response_id, self.request_id)]
            case "response.in_progress":
                cache = str(payload.get("x_cache", ""))
                model = str(payload["response"].get("model") or "")
                return [Answering(from_cache=cache == "HIT", was_joined=cache == "JOIN", model=model)]
            case "response.output_text.delta":
                return [Delta(text=payload["delta"])]
            case "response.reasoning_text.delta":
                return [Delta(reasoning=payload["delta"])]
            case "response.completed" | "response.incomplete":
                self.is_over = True
                return [_finished(payload["response"])]
            case "response.failed":
                self.is_over = True
                raise _failure(payload["response"].get("error") or {}, self.request_id)
            case _:
                return []


def _payload_of(line: str) -> dict[str, Any]:
    """Return the event of a line; {} for lines that carry no data."""
    if not line.startswith("data:"):
        return {}
    try:
        payload = orjson.loads(line[5:])
    except orjson.JSONDecodeError as error:
        raise ApiError("unexpected", "The service returned an unrecognized response.") from error
    return cast("dict[str, Any]", payload) if isinstance(payload, dict) else {}


def _finished(response: dict[str, Any]) -> Finished:
    usage = response.get("usage") or {}
    used = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    if response.get("status") == "cancelled":
        return Finished("cancelled", *used)
    reason = (response.get("incomplete_details") or {}).get("reason", "stop")
    return Finished("length" if reason == "max_output_tokens" else reason, *used)


def _failure(error: dict[str, Any], request_id: str) -> ApiError:
    code, message = error.get("reason") or error.get("code") or "", str(error.get("message") or "")[:500]
    return ApiError(str(code), message, request_id, error.get("retry_after_s"))
