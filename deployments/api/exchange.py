"""One request that may generate: counted in, answered whole or as a stream, counted out once."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.responses import Response

from deployments.api.http.connection import ClientGone, Connection
from deployments.api.http.replies import EventStream
from deployments.api.metering import CLIENT_GONE_STATUS, Meter
from deployments.api.resuming import is_resumable, kept_request, opened_stream, outcome_of
from deployments.api.services import Services
from deployments.cache.steering import describe
from deployments.chat.call import Answer, ChatCall
from deployments.chat.summary import Summary
from deployments.errors import ChatLLMError
from deployments.infra import tracing
from deployments.keys.authenticator import Caller
from deployments.limits.estimate import Weight


async def exchange(
    request: Request,
    services: Services,
    caller: Caller,
    streams: bool,
    work: Callable[[Summary], Awaitable[Answer]],
    weight: Weight,
    call: ChatCall | None = None,
) -> Response:
    """Answer with what `work` returns; it fills in the summary until the answer has ended.

    Every endpoint that can generate goes through here, so that each request is counted and limited in one place.
    `weight` is what it asks of the engine; `call` is given where the stream may be resumable. `work` is cancelled when
    the client leaves. Raises TooManyRequests before `work` begins.
    """
    request_id: str = request.state.request_id
    services.telemetry.began()
    summary = Summary(timing=request.state.timing)
    meter = request.state.meter = Meter(request, services.limiter, services.usage_writer, caller, weight)
    summary.job = meter.job

    def ended(outcome: ChatLLMError | ClientGone | None) -> None:
        status = _note_outcome(summary, outcome)
        tracing.annotate(_described(summary))
        services.telemetry.ended(request_id, caller.key_id, summary, status, streams)
        meter.ended(summary, status)

    connection = Connection(request.receive)
    try:
        with connection:
            await meter.admit(request)
            summary.timing.mark("admission")
            answer = await work(summary)
            headers, on_end = _headers(summary), ended
            if answer.frames is not None and call is not None and is_resumable(request, call, services.settings):
                kept = kept_request(call, summary, caller.key_id, meter, services.settings)
                opened = await opened_stream(services.streams, kept, answer, outcome_of(summary, meter, ended))
                answer, on_end = opened.answer, _nobody if opened.ends_by_itself else ended
                headers |= opened.headers
    except BaseException as error:
        connection.close()
        ended(_outcome(error))
        raise
    if answer.frames is None:
        connection.close()
        ended(None)
        return Response(answer.body, 200, headers, answer.media_type)
    trailer = summary.timing.trailer if request.headers.get("x-server-timing") == "trailer" else None
    silence_s = services.settings.timeouts.silence_s
    return EventStream(answer.frames, headers, request_id, connection, on_end, trailer, silence_s, answer.waits_for)


def _note_outcome(summary: Summary, outcome: ChatLLMError | ClientGone | None) -> int:
    """Keep a failure in the summary, and return the status with which the request counts."""
    outcome = outcome or summary.failure
    summary.failure = None if isinstance(outcome, ClientGone) else outcome
    return CLIENT_GONE_STATUS if isinstance(outcome, ClientGone) else outcome.status if outcome else 200


def _nobody(_: ChatLLMError | ClientGone | None) -> None: ...


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
    if (waiting := summary.job.notice()) is not None:
        headers["x-chatllm-queue-position"] = str(waiting.position)
        if waiting.wait_s is not None:
            headers["x-chatllm-estimated-wait"] = str(max(1, round(waiting.wait_s)))
    if summary.ignored:
        headers["x-chatllm-ignored"] = ", ".join(summary.ignored)
    return headers
