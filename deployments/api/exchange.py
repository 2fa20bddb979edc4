"""One request that may generate: counted in, answered whole or as a stream, counted out once."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.responses import Response

from deployments.api.http.connection import ClientGone, Connection
from deployments.api.http.replies import EventStream
from deployments.api.metering import CLIENT_GONE_STATUS, Meter
from deployments.api.services import Services
from deployments.cache.steering import describe
from deployments.chat.call import Answer
from deployments.chat.summary import Summary
from deployments.errors import ChatLLMError
from deployments.infra import tracing
from deployments.infra.timing import Timing
from deployments.keys.authenticator import Caller
from deployments.limits.estimate import Weight


async def exchange(
    request: Request,
    services: Services,
    caller: Caller,
    streams: bool,
    work: Callable[[Summary], Awaitable[Answer]],
    weight: Weight,
) -> Response:
    """Answer with what `work` returns; it fills in the summary until the answer has ended.

    `work` is cancelled when the client leaves. Every endpoint that can generate
    goes through here, so that each request is counted and limited in one place.
    `weight` is what it asks of the engine. Raises TooManyRequests before `work` begins.
    """
    request_id: str = request.state.request_id
    services.telemetry.began()
    timing: Timing = request.state.timing
    summary = Summary(timing=timing)
    meter = request.state.meter = Meter(request, services.limiter, services.usage_writer, caller, weight)

    def ended(outcome: ChatLLMError | ClientGone | None) -> None:
        outcome = outcome or summary.failure
        summary.failure = None if isinstance(outcome, ClientGone) else outcome
        status = CLIENT_GONE_STATUS if isinstance(outcome, ClientGone) else outcome.status if outcome else 200
        tracing.annotate(_described(summary))
        services.telemetry.ended(request_id, caller.key_id, summary, status, streams)
        meter.ended(summary, status)

    connection = Connection(request.receive)
    try:
        with connection:
            await meter.admit()
            timing.mark("admission")
            answer = await work(summary)
    except BaseException as error:
        connection.close()
        ended(_outcome(error))
        raise
    headers = _headers(summary)
    if answer.frames is not None:
        trailer = timing.trailer if request.headers.get("x-server-timing") == "trailer" else None
        silence_s = services.settings.timeouts.silence_s
        return EventStream(answer.frames, headers, request_id, connection, ended, trailer, silence_s, answer.waits_for)
    connection.close()
    ended(None)
    return Response(answer.body, 200, headers, answer.media_type)


def _outcome(error: BaseException) -> ChatLLMError | ClientGone:
    """Return what an exception means for the request.

    Ray Serve cancels the task of a request whose client has left, often before the connection reports it.
    """
    if isinstance(error, asyncio.CancelledError):
        return ClientGone()
    return error if isinstance(error, ChatLLMError | ClientGone) else ChatLLMError()


def _described(summary: Summary) -> dict[str, str | int]:
    """Return what a trace tells of a request that generates, in OpenTelemetry's words where it has some."""
    return {
        "gen_ai.request.model": summary.model,
        "gen_ai.usage.input_tokens": summary.prompt_tokens,
        "gen_ai.usage.output_tokens": summary.completion_tokens,
        "chatllm.cache": summary.cache,
    }


def _headers(summary: Summary) -> dict[str, str]:
    headers = {"x-cache": summary.cache}
    if summary.model:
        headers["x-chatllm-model"] = summary.model
    if summary.cache_reason:
        headers["x-cache-reason"] = describe(summary.cache_reason)
    if summary.age_s is not None:
        headers["age"] = str(summary.age_s)
    if summary.cache_key:
        headers["x-cache-key"] = summary.cache_key
    if summary.ignored:
        headers["x-chatllm-ignored"] = ", ".join(summary.ignored)
    return headers
