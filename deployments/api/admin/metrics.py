"""`GET /v1/admin/metrics`: the service's own figures of the last hour; for an administrator's key only."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.admin.keys import admin_of
from deployments.api.http.replies import JSON
from deployments.api.schemas.metrics import (
    AdminMetrics,
    ClusterNode,
    Figures,
    MetricsPoint,
    ModelMetrics,
    ModelStart,
    Quantiles,
    QueueMetrics,
    RecentError,
    ReplicaMetrics,
    ScalingDecision,
)
from deployments.api.schemas.model_list import LoadPhase
from deployments.api.schemas.openapi import documented
from deployments.api.services import ServedModels, services_of
from deployments.errors import BadRequest, ChatLLMError, Forbidden
from deployments.infra.ray.nodes import nodes
from deployments.metrics.buckets import Counts
from deployments.metrics.histogram import quantile
from deployments.metrics.queues import Waiting
from deployments.metrics.sharing import Reported
from deployments.models.availability import ModelState
from deployments.models.loading.estimate import PHASES, Start
from deployments.models.scaling.decisions import Decision

MAX_POINTS = 360


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
    the last 50 of its callers. The decisions are the last 50 of the autoscaler, whenever they were made, the
    starts the last five of each model. Of nodes that are gone, the last ten are named.
    """
    if window_s % step_s or window_s // step_s > MAX_POINTS:
        raise BadRequest(f"'window_s' must be a multiple of 'step_s', and {MAX_POINTS} of it at most.", "window_s")
    services = services_of(request)
    reported, held, decisions, known = await asyncio.gather(
        services.metrics.report(window_s, step_s), _held(services.models), services.models.decisions(), nodes()
    )
    shown = _shown(reported, held, decisions, step_s)
    shown.starts = [_start(model, start) for model, start in services.models.starts()]
    shown.nodes = [ClusterNode(**asdict(node)) for node in known]
    body = msgspec.json.encode(shown)
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
                queued=point.waiting,
                **_sums(point.counts),
            )
            for point in report.points
        ],
        total=Figures(**_sums(report.total)),
        models=[
            _model(each, report.models.get(each.state.id, Counts()), report.queues.get(each.state.id, {}))
            for each in held
        ],
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
        starts=[],
        nodes=[],
    )


def _start(model: str, start: Start) -> ModelStart:
    phases = {name: round(start.phases[name], 2) for name in PHASES if name in start.phases}
    return ModelStart(start.began_at, model, round(sum(phases.values()), 2), phases)


def _model(held: _Held, total: Counts, queues: Mapping[str, Waiting]) -> ModelMetrics:
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
        {
            name: QueueMetrics(each.requests, round(each.tokens), round(each.oldest_s, 1))
            for name, each in queues.items()
        },
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
