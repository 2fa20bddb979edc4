"""`GET /v1/admin/metrics` over HTTP."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from deployments.api.admin.metrics import AdminMetrics
from deployments.config import ScriptedModel
from deployments.infra.redis.errors import StoreError
from tests.unit.api.conftest import Service, running

METRICS = "/v1/admin/metrics"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "a secret prompt"}], "temperature": 0}


async def told(service: Service, **params: Any) -> AdminMetrics:
    """Return what an administrator is told, checked against the documented shape."""
    _, secret = await service.keys.create(f"admin {len(await service.keys.list())}", {"is_admin": True})
    response = await service.http.get(METRICS, params=params, headers={"authorization": f"Bearer {secret}"})
    assert response.status_code == 200, response.text
    assert "a secret prompt" not in response.text
    return msgspec.json.decode(response.content, type=AdminMetrics)


async def ask(service: Service, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    return await service.http.post("/v1/chat/completions", json=CHAT | more, headers=headers)


async def test_only_administrators_are_told(service: Service) -> None:
    response = await service.http.get(METRICS)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    assert (await service.http.get(METRICS, headers={"authorization": ""})).status_code == 401


async def test_a_fresh_service_has_nothing_to_tell(service: Service) -> None:
    metrics = await told(service)
    assert (metrics.object, metrics.replicas_seen, metrics.is_partial, metrics.partial_because) == (
        "metrics",
        1,
        False,
        None,
    )
    assert len(metrics.points) == 60
    assert metrics.total.requests == {} and metrics.total.ttft.p50_s is None
    assert [(model.id, model.status, model.replicas, model.running, model.waiting) for model in metrics.models] == [
        ("quick", "ready", 1, 0, 0),
        ("slow", "ready", 1, 0, 0),
    ]
    assert metrics.errors == []


async def test_requests_are_told_by_status_result_and_model(service: Service) -> None:
    assert (await ask(service, stream=True)).headers["x-cache"] == "MISS"
    async with asyncio.timeout(5):
        while not service.cache.stored:
            await asyncio.sleep(0.005)
    assert (await ask(service)).headers["x-cache"] == "HIT"
    assert (await ask(service, model="slow", max_tokens=2)).status_code == 200
    metrics = await told(service)
    assert metrics.total.requests == {"200": 3}
    assert metrics.total.cache == {"HIT": 1, "MISS": 2}
    assert (metrics.total.output_tokens, metrics.total.reused_tokens) == (10, 8)
    assert (metrics.total.ttft.count, metrics.total.duration.count) == (1, 3)
    by_model = {model.id: model.total for model in metrics.models}
    assert (by_model["quick"].requests, by_model["slow"].requests) == ({"200": 2}, {"200": 1})
    assert sum(sum(point.requests.values()) for point in metrics.points) == 3
    assert metrics.points[-1].start <= metrics.end < metrics.points[-1].start + metrics.step_s


async def test_errors_are_told_with_their_code_and_the_request_s_id(service: Service) -> None:
    missing = await ask(service, model="gpt-9")
    too_long = await ask(service, messages=[{"role": "user", "content": "word " * 500}])
    assert (missing.status_code, too_long.status_code) == (404, 400)
    service.models.is_ready = False
    loading = await ask(service, {"x-chatllm-wait": "0"}, seed=1)
    metrics = await told(service)
    assert [(error.status, error.code, error.model, error.request_id) for error in metrics.errors] == [
        (503, "model_loading", "quick", loading.headers["x-request-id"]),
        (400, "context_length_exceeded", "quick", too_long.headers["x-request-id"]),
        (404, "model_not_found", "", missing.headers["x-request-id"]),
    ]
    assert {error.key_id for error in metrics.errors} == {(await service.keys.list())[0].id}
    assert metrics.total.requests == {"400": 1, "404": 1, "503": 1}
    assert metrics.models[0].status == "loading"


async def test_a_failure_in_mid_stream_is_an_error_too() -> None:
    breaks = ScriptedModel(id="breaks", kind="scripted", tokens=8, fail_after=2)
    async with running(breaks) as service:
        response = await ask(service, stream=True)
        assert response.status_code == 200  # its stream tells
        metrics = await told(service)
        assert [(error.status, error.code) for error in metrics.errors] == [(500, "internal_error")]
        assert metrics.total.requests == {"500": 1}


async def test_what_runs_and_what_waits_is_told() -> None:
    waits = ScriptedModel(id="waits", kind="scripted", prefill_ms=60_000)
    runs = ScriptedModel(id="runs", kind="scripted", tokens=500, token_ms=200)
    async with running(waits, runs) as service:
        asked = [asyncio.create_task(ask(service, model=model, stream=True)) for model in ("waits", "runs", "runs")]
        async with asyncio.timeout(5):
            while sum([await service.models.running(model) for model in ("waits", "runs")]) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            # The newest point may have begun after the last sample.
            while (metrics := await told(service)).points[-1].in_flight < 3:
                await asyncio.sleep(0.05)
        assert [(model.running, model.waiting) for model in metrics.models] == [(0, 1), (1, 0)]  # two share one
        assert metrics.points[-1].in_flight == metrics.replicas[0].in_flight == 3
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_redis_away_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(since: float) -> None:
        raise StoreError("connection")

    await ask(service)
    monkeypatch.setattr(service.metrics._store, "read", fail)
    partial = await told(service)
    assert (partial.is_partial, partial.partial_because) == (True, "redis_connection")
    assert (partial.replicas_seen, partial.total.requests) == (1, {"200": 1})


@pytest.mark.parametrize(
    "params",
    [
        {"window_s": 59},
        {"window_s": 3601},
        {"step_s": 4},
        {"step_s": 7},
        {"window_s": 100, "step_s": 15},
        {"window_s": 3600, "step_s": 5},
        {"window_s": "x"},
    ],
)
async def test_a_time_that_cannot_be_told_is_refused(service: Service, params: dict[str, Any]) -> None:
    _, secret = await service.keys.create("admin", {"is_admin": True})
    response = await service.http.get(METRICS, params=params, headers={"authorization": f"Bearer {secret}"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(("window_s", "step_s", "points"), [(60, 5, 12), (900, 5, 180), (3600, 60, 60)])
async def test_the_time_and_its_steps_can_be_chosen(service: Service, window_s: int, step_s: int, points: int) -> None:
    metrics = await told(service, window_s=window_s, step_s=step_s)
    assert len(metrics.points) == points
    assert metrics.points[1].start - metrics.points[0].start == step_s
    assert window_s - step_s < metrics.end - metrics.start <= window_s
