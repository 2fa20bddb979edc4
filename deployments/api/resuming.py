"""Where HTTP meets resumable streams: which requests are, how their end is counted, and how a lost one goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from fastapi import Request

from deployments.api.http.connection import ClientGone
from deployments.api.metering import CLIENT_GONE_STATUS, Meter
from deployments.chat.call import GENERATING, Answer, ChatCall
from deployments.chat.cost import Cost, when_final
from deployments.chat.service import ChatService
from deployments.chat.summary import Summary
from deployments.config import ProviderModel, Settings
from deployments.errors import ChatLLMError
from deployments.limits.limiter import Admission, Limiter
from deployments.queueing.job import Job
from deployments.responses.background import Observer
from deployments.streams.request import KeptRequest
from deployments.streams.running import Begin, Outcome
from deployments.streams.service import Refused, ResumableStreams

RESUMABLE_HEADER = "x-chatllm-resumable"
ID_HEADER = "x-chatllm-stream-id"
WANTED = frozenset({"1", "true"})

Ended = Callable[[ChatLLMError | ClientGone | None], None]


def is_resumable(request: Request, call: ChatCall, settings: Settings) -> bool:
    """Whether the answer to a call is to be resumable, by the request's header and the configuration."""
    rule = settings.streams.resumable
    if rule == "never" or call.endpoint not in GENERATING:
        return False
    header = request.headers.get(RESUMABLE_HEADER)
    if header is None:
        return rule == "always" and not call.cache_control.no_store
    return header.strip().lower() in WANTED


def kept_request(call: ChatCall, summary: Summary, key_id: str, meter: Meter, settings: Settings) -> KeptRequest:
    """Return what another replica needs to go on with an answer that has begun.

    It asks the same model, whose answer may be that of a fallback, and no provider: that would be paid for twice.
    """
    call = replace(call, request={**call.request, "model": summary.model})
    is_provider = any(model.id == summary.model and isinstance(model, ProviderModel) for model in settings.models)
    return KeptRequest(call, key_id, meter.record(), may_be_repeated=not is_provider)


@dataclass(frozen=True, slots=True)
class OpenedStream:
    """An answer, and the headers that say whether its stream can be resumed."""

    answer: Answer
    headers: Mapping[str, str]
    ends_by_itself: bool
    """Whether it goes on without a reader; its end is then not that of the request."""


async def opened_stream(streams: ResumableStreams, kept: KeptRequest, answer: Answer, outcome: Outcome) -> OpenedStream:
    """Return an answer with numbered events, or as it is where it cannot be resumed; the headers then say why."""
    try:
        stream_id, numbered = await streams.open(kept, answer, outcome)
    except Refused as refused:
        return OpenedStream(answer, {RESUMABLE_HEADER: f"0; {refused.reason}"}, ends_by_itself=False)
    except BaseException:
        assert answer.frames is not None
        await answer.frames.aclose()
        raise
    headers = {RESUMABLE_HEADER: "1", ID_HEADER: stream_id}
    return OpenedStream(replace(answer, frames=numbered), headers, ends_by_itself=True)


def outcome_of(summary: Summary, meter: Meter, ended: Ended) -> Outcome:
    """Return who is told of the end of a resumable stream in place of its request, which may end before."""

    def left() -> None:
        meter.leave()
        _take_nothing(summary)
        ended(ClientGone())

    return Outcome(
        lambda failure, is_stopped: ended(ClientGone() if is_stopped else failure), partial(_leave, summary), left
    )


class Repetition:
    """Generates the answer to a request again whose replica was lost; its key pays for one of the two."""

    def __init__(self, chat: ChatService, limiter: Limiter, observer: Observer) -> None:
        self._chat = chat
        self._limiter = limiter
        self._observer = observer

    def __call__(self, kept: KeptRequest) -> tuple[Begin, Outcome]:
        """Return how the answer begins, and who is told of its end."""
        summary = Summary(job=Job(kept.key_id))
        admission = self._limiter.resume(kept.admission) if kept.admission else None
        self._observer.began()

        async def begin() -> Answer:
            return await (self._chat.chat if kept.call.endpoint == "chat" else self._chat.ask)(kept.call, summary)

        def count(status: int) -> None:
            self._observer.ended(kept.call.id, kept.key_id, summary, status, True)

        def ended(failure: ChatLLMError | None, is_stopped: bool) -> None:
            summary.failure = None if is_stopped else failure
            if admission is not None:
                when_final(summary, partial(_give_back, admission))
            count(CLIENT_GONE_STATUS if is_stopped else failure.status if failure else 200)

        def left() -> None:
            if admission is not None:
                admission.leave()
            _take_nothing(summary)
            count(CLIENT_GONE_STATUS)

        return begin, Outcome(ended, partial(_leave, summary), left)


def _give_back(admission: Admission, cost: Cost) -> None:
    admission.end(cost.tokens)


def _leave(summary: Summary) -> None:
    summary.is_left = True


def _take_nothing(summary: Summary) -> None:
    """Let what was generated here cost nothing: the replica that goes on generates, and counts, all of it."""
    summary.prompt_tokens = summary.completion_tokens = 0
    summary.generation = None
