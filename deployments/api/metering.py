"""Where HTTP meets the limits and the usage of keys: admitted before, counted after, reported in headers.

- A request that may generate is admitted by `exchange`, through its `Meter`, in one
  decision: a request, the estimated tokens, and a place among those that run at once.
- Every other one, be it reading or writing, counts against a generous limit of its own as
  soon as its caller is known. It takes nothing of what the key may generate; its response says what is left.
- A title for a conversation belongs to the message that was counted before: it costs
  tokens, and a request only where there are more titles than messages.
- What it takes belongs to the generation that it begins, and is settled when that ends (chat/cost.py).
- A request that is refused as malformed before it could be admitted counts for nothing.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.http.dialect import is_anthropic
from deployments.api.patience import job_of
from deployments.chat.cost import Cost, when_final
from deployments.chat.summary import Summary
from deployments.errors import TooManyRequests
from deployments.keys.authenticator import Caller
from deployments.keys.types import KeyLimits
from deployments.limits.estimate import Weight
from deployments.limits.headers import anthropic_headers, duration, excess, headers, other_refusal, refusal
from deployments.limits.limiter import Admission, Limiter
from deployments.usage.types import Used
from deployments.usage.writer import UsageWriter

GENERATING = frozenset(
    {
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"),
        *("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score"),
        *("/v1/classify", "/classify", "/v1/pooling", "/pooling"),
        *("/v1/audio/transcriptions", "/v1/audio/translations"),
    }
)
"""Where a POST is decided on by `exchange` alone. One that is missing here counts among the others as well."""

PURPOSE_HEADER = "x-chatllm-purpose"
TITLE = "title"
MAX_TITLE_TOKENS = 64
"""A longer answer is no title, whatever its request says."""

CLIENT_GONE_STATUS = 499
SIGN_INS_PER_MINUTE = 10
"""With one username, on all replicas together, whoever tries: who guesses has 14,400 passwords a day."""


async def count(request: Request, limiter: Limiter, caller: Caller) -> None:
    """Count a request that does not generate against the limit of these; raises TooManyRequests."""
    if request.method == "POST" and request.scope["path"] in GENERATING:
        return
    if getattr(request.state, "is_counted", False):
        return
    request.state.is_counted = True
    limits = caller.limits
    if limits.requests_per_minute or limits.tokens_per_minute:
        per_minute = replace(limits, concurrent_requests=None, tokens_per_month=None)
        _set_limit_headers(request, await limiter.admit(caller.key_id, per_minute, requests=0, sequences=0), 0)
    verdict = await limiter.count_other(caller.key_id)
    if verdict.refused_by is not None:
        raise other_refusal(limiter.of_others, verdict)


async def count_sign_in(limiter: Limiter, username: str) -> None:
    """Count an attempt to sign in, right or wrong; raises TooManyRequests past `SIGN_INS_PER_MINUTE`."""
    attempts = KeyLimits(requests_per_minute=SIGN_INS_PER_MINUTE)
    admission = await limiter.admit(f"sign-in:{username}", attempts, sequences=0)
    if admission.is_refused:
        wait_s = admission.verdict.wait_s
        raise TooManyRequests(
            f"Too many attempts to sign in with this username. Please try again in {duration(wait_s)}.", None, wait_s
        )
    admission.end(0)


class Meter:
    """What one request that may generate costs its key. `ended` must be called when the request has ended."""

    def __init__(self, request: Request, limiter: Limiter, usage: UsageWriter, caller: Caller, weight: Weight) -> None:
        # Not the request itself, which holds this: that would be memory until the garbage collector comes by.
        self._limiter = limiter
        self._usage = usage
        self._caller = caller
        self._weight = weight
        body_bytes = getattr(request.state, "body_bytes", 0)
        self._tokens = weight.tokens(body_bytes)
        self.job = job_of(request.headers, caller, weight)
        self._admission: Admission | None = None
        self._is_admitted = False

    async def admit(self, request: Request) -> None:
        """Let its request in, or raise TooManyRequests, which says which limit it met and when to come again."""
        if at_once := self._caller.max_sequences:
            error = excess(KeyLimits(concurrent_requests=at_once), self._weight, self._tokens)
            if error is not None:
                raise error
        if self._caller.limits and self._weight.sequences:
            self._admission = await self._admitted(request, self._caller.key_id, self._caller.limits)
        self._is_admitted = True

    async def _admitted(self, request: Request, key_id: str, limits: KeyLimits) -> Admission:
        if error := excess(limits, self._weight, self._tokens):
            _set_limit_headers(request, await self._limiter.admit(key_id, limits, requests=0, sequences=0), 0)
            raise error
        requests = await self._counts_as(request, key_id, limits)
        places = self._weight.places(limits.concurrent_requests)
        admission = await self._limiter.admit(key_id, limits, self._tokens, requests=requests, sequences=places)
        _set_limit_headers(request, admission, self._tokens)
        return admission

    async def _counts_as(self, request: Request, key_id: str, limits: KeyLimits) -> int:
        """Return how many requests it counts as: titles are free, up to one for each message."""
        if not self._weight.is_counted:
            return 0
        weight, per_minute = self._weight, limits.requests_per_minute
        is_title = weight.sequences == 1 and 0 < weight.answer_tokens <= MAX_TITLE_TOKENS
        if not per_minute or not is_title or request.headers.get(PURPOSE_HEADER) != TITLE:
            return 1
        of_titles = KeyLimits(requests_per_minute=per_minute)
        return int((await self._limiter.admit(f"{key_id}:titles", of_titles, sequences=0)).is_refused)

    @property
    def admission(self) -> Admission | None:
        """What the key's limits allowed; None without limits."""
        return self._admission

    def record(self) -> dict[str, Any]:
        """Return what another replica needs to go on holding what was admitted; empty where that is nothing."""
        return self._admission.record() if self._admission is not None else {}

    def leave(self) -> None:
        """Let another replica go on holding what was admitted, which has the record."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave()

    def hand_over(self) -> None:
        """Leave the admission to a response that goes on after this request, and ends it."""
        self._admission = None

    def ended(self, summary: Summary, status: int) -> None:
        """Count the request once the generation that it began has ended as well; until then it keeps its place.

        Nothing counts for a request that was not let in, or only follows another one.
        """
        if not self._is_admitted or not self._weight.sequences:
            return
        when_final(summary, partial(self._settle, summary.model, status), self._weight.prompt_tokens)

    def _settle(self, model: str, status: int, cost: Cost) -> None:
        if self._admission is not None:
            self._admission.end(cost.tokens)
        used = Used(1, int(status >= 500), cost.prompt_tokens, cost.completion_tokens, cost.cached_tokens)
        self._usage.note(self._caller.key_id, model, used)


class LimitHeaders:
    """Adds `x-ratelimit-*` to every answer, errors too, of a request whose key has such limits.

    In Anthropic's API they are called `anthropic-ratelimit-*`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *scope["state"].get("limit_headers", ())]
            await send(message)

        await self._app(scope, receive, send_with_limits)


def _set_limit_headers(request: Request, admission: Admission, tokens: int) -> None:
    formatted = anthropic_headers if is_anthropic(request.scope) else headers
    request.state.limit_headers = formatted(admission.limits, admission.verdict)
    if admission.is_refused:
        raise refusal(admission.limits, admission.verdict, tokens)
