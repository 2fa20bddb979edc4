"""A streamed answer, through the openai SDK.

Importing the SDK takes longer than everything else in this process, so that only
`app` imports this module, in a thread, once the page can already be served.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

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

    async def _ask(self, question: Question) -> AsyncGenerator[Event]:
        message: ChatCompletionMessageParam = {"role": "user", "content": question.text}
        extension = {"conversation": question.conversation_id}
        if question.parent:
            extension["parent"] = question.parent
        response = await self._sdk.chat.completions.with_raw_response.create(
            model=question.model,
            messages=[message],
            stream=True,
            stream_options={"include_usage": True},
            extra_body=extension,
        )
        request_id = response.headers.get("x-request-id", "")
        yield Started(from_cache=response.headers.get("x-cache") == "HIT", request_id=request_id)
        end = Finished("")
        async with response.parse() as stream:
            async for chunk in stream:
                end = _end(chunk, end)
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield Delta(text)
        if not end.reason:
            raise Trouble("cut_off", request_id=request_id)
        yield end


def _end(chunk: ChatCompletionChunk, end: Finished) -> Finished:
    reason = (chunk.choices[0].finish_reason if chunk.choices else None) or end.reason
    if chunk.usage is None:
        return Finished(reason, end.prompt_tokens, end.completion_tokens)
    return Finished(reason, chunk.usage.prompt_tokens, chunk.usage.completion_tokens)


def _trouble(error: openai.APIError) -> Trouble:
    if isinstance(error, openai.APIStatusError):
        return from_body(error.status_code, error.response.headers, error.body)
    if isinstance(error, openai.APITimeoutError):
        return Trouble("too_slow")
    if isinstance(error, openai.APIConnectionError):
        return Trouble("unreachable")
    return from_body(0, {}, error.body)  # an error event in mid-stream
