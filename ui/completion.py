"""A streamed answer, through the openai SDK.

Importing the SDK takes longer than everything else in this process, so that only
`app` imports this module, in a thread, once the page can already be served.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import httpx2
import openai
import orjson
from openai.types.chat import ChatCompletionMessageParam

from ui.settings import KeyMissing, Settings
from ui.stream import Delta, Event, Finished, Question, Started
from ui.trouble import Trouble, from_body

CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 120.0  # to the first token (a queue may be in front of it) and between two tokens


class Completions:
    """Answers from the service. One connection pool, no silent retries: the person decides."""

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
        """Yield `Started`, then `Delta`s, then `Finished`.

        Raises `Trouble`. Closing the generator closes the HTTP request, which is
        what makes the service stop generating.
        """
        try:
            async with aclosing(self._ask(question)) as events:
                async for event in events:
                    yield event
        except KeyMissing as error:
            raise Trouble("no_key", str(error)) from error
        except openai.APIError as error:
            if isinstance(error, openai.AuthenticationError):
                self._key.forget()
            raise _trouble(error) from error
        except httpx2.TimeoutException as error:
            raise Trouble("too_slow") from error
        except httpx2.HTTPError as error:  # the SDK translates only what happens before the first byte
            raise Trouble("cut_off") from error

    async def _ask(self, question: Question) -> AsyncGenerator[Event]:
        async with self._sdk.chat.completions.with_streaming_response.create(
            model=question.model,
            messages=_messages(question),
            stream=True,
            stream_options={"include_usage": True},
            extra_body=_extension(question),
        ) as response:
            request_id = response.headers.get("x-request-id", "")
            cache = response.headers.get("x-cache", "").upper()
            yield Started(from_cache=cache == "HIT", request_id=request_id, was_joined=cache.startswith("JOIN"))
            end = Finished("")
            async for line in response.iter_lines():
                chunk = _chunk(line)
                end = _end(chunk, end)
                if delta := _delta(chunk):
                    yield delta
        if not end.reason:
            raise Trouble("cut_off", request_id=request_id)
        yield end


def _messages(question: Question) -> list[ChatCompletionMessageParam]:
    if question.continues:
        return [{"role": "assistant", "content": question.continues}]
    said: list[ChatCompletionMessageParam] = [{"role": "user", "content": question.text}]
    return [{"role": "system", "content": question.system}, *said] if question.system else said


def _extension(question: Question) -> dict[str, Any]:
    """Return what OpenAI's API lacks: the conversation and its branch, and vLLM's way to go on with an answer."""
    extension: dict[str, Any] = {"conversation": question.conversation_id, **question.parameters.fields}
    if question.parent is not None:
        extension["parent"] = question.parent
    if question.continues:
        extension |= {"continue_final_message": True, "add_generation_prompt": False}
    return extension


# The SDK's own stream builds a pydantic object for every token: 0.9 ms of CPU, four
# fifths of all that this process does. Reading the three fields that matter takes 0.03 ms.


def _chunk(line: str) -> dict[str, Any]:
    """Read a line of the event stream; lines without a chunk give an empty one, an error event is raised."""
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return {}
    try:
        chunk = orjson.loads(line[5:])
    except orjson.JSONDecodeError as error:
        raise Trouble("unexpected", "The service answered in an unknown form.") from error
    if not isinstance(chunk, dict):
        return {}
    if chunk.get("error"):
        raise from_body(0, {}, chunk)
    return cast("dict[str, Any]", chunk)


def _choice(chunk: dict[str, Any]) -> dict[str, Any]:
    return (chunk.get("choices") or [{}])[0]


def _delta(chunk: dict[str, Any]) -> Delta | None:
    said = _choice(chunk).get("delta") or {}
    text = said.get("content") or ""
    reasoning = said.get("reasoning") or said.get("reasoning_content") or ""
    return Delta(text, reasoning) if text or reasoning else None


def _end(chunk: dict[str, Any], end: Finished) -> Finished:
    reason, usage = _choice(chunk).get("finish_reason") or end.reason, chunk.get("usage")
    if not usage:
        return end if reason == end.reason else Finished(reason, end.prompt_tokens, end.completion_tokens)
    return Finished(reason, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))


def _trouble(error: openai.APIError) -> Trouble:
    if isinstance(error, openai.APIStatusError):
        return from_body(error.status_code, error.response.headers, error.body)
    return Trouble("too_slow" if isinstance(error, openai.APITimeoutError) else "unreachable")
