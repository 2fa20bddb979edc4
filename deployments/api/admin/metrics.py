"""`GET /v1/admin/metrics`: the service's own figures of the last hour; for an administrator's key only."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.admin.keys import admin_of
from deployments.api.http.replies import JSON
from deployments.api.schemas.objects import LoadPhase
from deployments.api.schemas.openapi import documented
from deployments.api.services import ServedModels, services_of
from deployments.errors import BadRequest, ChatLLMError, Forbidden
from deployments.metrics.buckets import Counts
from deployments.metrics.histogram import quantile
from deployments.metrics.sharing import Reported
from deployments.models.client import ModelState
from deployments.models.scaling.decisions import Decision

MAX_POINTS = 360


class Quantiles(msgspec.Struct):
    """How long it took, in seconds, to within an eighth; null where nothing was counted."""

    count: int
    p50_s: float | None
    p95_s: float | None


class Figures(msgspec.Struct, kw_only=True):
    """Requests that ended and what they used.

    `requests` are by status (499 is a client that left), `cache` by result (HIT, JOIN, MISS, BYPASS).
    `output_tokens` were generated, `reused_tokens` came from the cache or from a generation that was
    shared; both count when the request ends. `ttft` is the time to the first token of streams, without
    those from the cache, `duration` that of whole requests.
    """

    requests: dict[str, int]
    cache: dict[str, int]
    prompt_tokens: int
    output_tokens: int
    reused_tokens: int
    ttft: Quantiles
    duration: Quantiles


class MetricsPoint(Figures, kw_only=True):
    """The figures of one step, which began at `start` (Unix seconds) and of which `seconds` are over.

    `in_flight` is how many requests ran at once at most, `replicas` how many replicas each model had at most; empty
    for a time of which nobody knows.
    """

    start: float
    seconds: float
    in_flight: int
    replicas: dict[str, int]


class ModelMetrics(msgspec.Struct):
    """A model now, and its figures over the whole time.

    Of the requests that its engines hold, `waiting` have no token yet and `running` have; null where
    its replicas do not tell in time, and for an adapter, whose requests are among those of its model. `reason` is
    why it has not loaded, `phase`, `percent`, `expected_s` and `remaining_s` are how far it is, as in `/ready`.
    """

    id: str
    status: str
    elapsed_s: float
    replicas: int
    running: int | None
    waiting: int | None
    total: Figures
    reason: str
    phase: LoadPhase | None
    percent: int | None
    expected_s: float | None
    remaining_s: float | None


class ReplicaMetrics(msgspec.Struct):
    """An ingress replica; one that has not been seen for 15 s is gone, but what it counted is in the figures."""

    id: str
    started_at: float
    seen_s_ago: float
    is_there: bool
    in_flight: int


class RecentError(msgspec.Struct):
    """A request that ended in an error, at a time in Unix seconds; `model` is "" where none was found."""

    at: float
    status: int
    code: str
    model: str
    request_id: str
    key_id: str


class ScalingDecision(msgspec.Struct):
    """A change of the number of replicas that a model shall have, at a time in Unix seconds, and why."""

    at: float
    model: str
    before: int
    after: int
    cause: str
    reason: str


class AdminMetrics(msgspec.Struct):
    """The figures of all ingress replicas, added up, from `start` to `end` (Unix seconds) in steps of `step_s`.

    `replicas_seen` ingress replicas are there. With `is_partial` some figures are missing, and
    `partial_because` says why: while Redis is away, they are those of the replica that answers.
    """

    object: Literal["metrics"]
    start: float
    end: float
    step_s: int
    replicas_seen: int
    is_partial: bool
    partial_because: str | None
    points: list[MetricsPoint]
    total: Figures
    models: list[ModelMetrics]
    replicas: list[ReplicaMetrics]
    errors: list[RecentError]
    decisions: list[ScalingDecision]


router = APIRouter(prefix="/v1/admin/metrics", tags=["admin"], dependencies=[Depends(admin_of)])


@router.get("", response_model=None, openapi_extra=documented(answer=AdminMetrics, errors=(Forbidden,)))
async def read_metrics(
    request: Request,
    window_s: Annotated[int, Query(ge=60, le=3600)] = 900,
    step_s: Annotated[int, Query(ge=5, le=600, multiple_of=5)] = 15,
) -> Response:
    """Return what has happened in the last `window_s` seconds, in steps of `step_s` (a multiple of 5).

    Counted are requests that may generate: chats, completions, responses, embeddings, tokens. Other
    replicas' figures are 2 s old at most. The errors are the last 50 of the service (from 500 on) and
    the last 50 of its callers. The decisions are the last 50 of the autoscaler, whenever they were made.
    """
    if window_s % step_s or window_s // step_s > MAX_POINTS:
        raise BadRequest(f"'window_s' must be a multiple of 'step_s', and {MAX_POINTS} of it at most.", "window_s")
    services = services_of(request)
    reported, held, decisions = await asyncio.gather(
        services.metrics.report(window_s, step_s), _held(services.models), services.models.decisions()
    )
    body = msgspec.json.encode(_shown(reported, held, decisions, step_s))
    return JSON(body, 200, {"cache-control": "no-store"})


@dataclass(frozen=True, slots=True)
class _Held:
    """A model, the requests that its engines hold, and those of them without a token; None where that is not known."""

    state: ModelState
    unfinished: int | None
    waiting: int | None


async def _held(models: ServedModels) -> list[_Held]:
    states = await models.states()
    calls = [call for state in states for call in (models.running(state.id), models.waiting(state.id))]
    numbers = await asyncio.gather(*map(_unless_it_fails, calls))
    held = {state.id: _Held(state, *of) for state, *of in zip(states, numbers[::2], numbers[1::2], strict=True)}
    # An engine does not tell which of its requests are for an adapter.
    adapters = models.names.adapters.items()
    return [*held.values(), *(_Held(replace(held[of].state, id=name), None, None) for name, of in adapters)]


async def _unless_it_fails(count: Coroutine[Any, Any, int]) -> int | None:
    try:
        return await count
    except ChatLLMError:
        return None


def _shown(
    reported: Reported, held: list[_Held], decisions: Sequence[tuple[str, Decision]], step_s: int
) -> AdminMetrics:
    report, now = reported.report, reported.now
    return AdminMetrics(
        object="metrics",
        start=report.points[0].start,
        end=now,
        step_s=step_s,
        replicas_seen=reported.replicas_seen,
        is_partial=bool(reported.failure),
        partial_because=reported.failure or None,
        points=[
            MetricsPoint(
                start=point.start,
                seconds=round(min(step_s, max(0.0, now - point.start)), 1),
                in_flight=point.peak,
                replicas=point.replicas,
                **_sums(point.counts),
            )
            for point in report.points
        ],
        total=Figures(**_sums(report.total)),
        models=[_model(each, report.models.get(each.state.id, Counts())) for each in held],
        replicas=[
            ReplicaMetrics(each.id, each.began_at, round(each.seen_s_ago, 1), each.is_there, each.running)
            for each in report.replicas
        ],
        errors=[
            RecentError(fault.at, fault.status, fault.code, fault.model, fault.request_id, fault.key_id)
            for fault in report.faults
        ],
        decisions=[
            ScalingDecision(made.at, model, made.before, made.after, made.cause, made.reason)
            for model, made in decisions
        ],
    )


def _model(held: _Held, total: Counts) -> ModelMetrics:
    state, unfinished, waiting = held.state, held.unfinished, held.waiting
    return ModelMetrics(
        state.id,
        state.status,
        round(state.elapsed_s, 1),
        state.replicas,
        None if unfinished is None or waiting is None else max(0, unfinished - waiting),
        waiting,
        Figures(**_sums(total)),
        state.absence.reason,
        cast(LoadPhase | None, state.phase),
        state.percent,
        state.expected_s,
        state.remaining_s,
    )


def _sums(counts: Counts) -> dict[str, Any]:
    return {
        "requests": {str(status): count for status, count in sorted(counts.statuses.items())},
        "cache": counts.results,
        "prompt_tokens": counts.prompt_tokens,
        "output_tokens": counts.output_tokens,
        "reused_tokens": counts.reused_tokens,
        "ttft": _quantiles(counts.first_token),
        "duration": _quantiles(counts.whole),
    }


def _quantiles(steps: dict[int, int]) -> Quantiles:
    p50, p95 = quantile(steps, 0.5), quantile(steps, 0.95)
    return Quantiles(sum(steps.values()), p50 and round(p50, 4), p95 and round(p95, 4))
