"""Traces of the whole application on real stores, as a real OTLP receiver gets them; across processes: tests/serve."""

import asyncio
import secrets
import time
from collections.abc import Generator

import pytest

from deployments.config import ScriptedModel
from deployments.infra import tracing
from deployments.infra.detached import detached
from deployments.models.protocol import Message, ModelRequest, Progress
from deployments.models.scripted.replica import ScriptedReplica
from deployments.models.tracing import traced
from tests.integration.serving import served
from tests.otlp import Receiver, receiving

PATH = "/v1/chat/completions"
MODEL = ScriptedModel(id="quick", kind="scripted", tokens=8)
PROMPT = "a sentence that nobody else may read"
HOPS = ("auth", "body", "admission", "history", "cache", "first-frame")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver]:
    tracing._tracer.cache_clear()
    with receiving() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running
    tracing._tracer.cache_clear()


def traceparent(trace_id: str, flags: str = "01") -> str:
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


async def names_of(receiver: Receiver, trace_id: str, *wanted: str) -> set[str]:
    """Return the names of a trace's spans once these are there."""
    deadline = time.monotonic() + 20
    while not set(wanted) <= (names := {span.name for span in receiver.of_trace(trace_id)}):
        assert time.monotonic() < deadline, names
        await asyncio.sleep(0.05)
    return names


async def test_a_request_s_hops_and_round_trips_are_children_of_its_span(
    database_url: str, valkey_url: str, receiver: Receiver
) -> None:
    trace_id = secrets.token_hex(16)
    parent = traceparent(trace_id)
    async with served(database_url, valkey_url, MODEL) as service, service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        body = {"model": "quick", "messages": [{"role": "user", "content": PROMPT}], "conversation": conversation}
        answer = await http.post(PATH, json=body, headers={"traceparent": parent})
        assert answer.status_code == 200
        await names_of(receiver, trace_id, f"POST {PATH}", "postgres", *HOPS)
        sent = b"".join(receiver.bodies)
        assert service.key.encode() not in sent and b"nobody else" not in sent
    spans = receiver.of_trace(trace_id)
    (root,) = [span for span in spans if span.name == f"POST {PATH}"]
    assert root.parent_id == parent.split("-")[2] and root.service == "chatllm-ingress"
    assert {span.parent_id for span in spans if span is not root} == {root.span_id}
    for span in spans:
        assert root.began_ns - 5_000_000 <= span.began_ns <= span.ended_ns <= root.ended_ns + 5_000_000, span.name
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["chatllm.request_id"] == answer.headers["x-request-id"]
    assert (root.attributes["gen_ai.request.model"], root.attributes["gen_ai.usage.output_tokens"]) == ("quick", 8)


async def test_what_goes_on_without_its_request_stays_in_its_trace(receiver: Receiver) -> None:
    trace = tracing.begun("ingress", "POST", traceparent(secrets.token_hex(16)))
    assert trace is not None

    async def work() -> str:
        return tracing.traceparent()

    with trace.entered():
        assert await detached(tracing.carried(work()), "carried") == trace.traceparent()
        assert await detached(work(), "not carried") == ""
    trace.span.end()


async def test_a_path_s_ids_are_not_names_and_what_is_not_sampled_is_not_sent(
    database_url: str, valkey_url: str, receiver: Receiver
) -> None:
    unsampled, missing = secrets.token_hex(16), secrets.token_hex(16)
    async with served(database_url, valkey_url, MODEL) as service, service.client() as http:
        await http.get("/v1/models", headers={"traceparent": traceparent(unsampled, "00")})
        await http.get("/v1/conversations/conv_private", headers={"traceparent": traceparent(missing)})
        names = await names_of(receiver, missing, "auth", "GET /v1/conversations/{conversation}")
    (root,) = [span for span in receiver.of_trace(missing) if span.name in names and span.name.startswith("GET")]
    assert root.attributes["http.response.status_code"] == 404 and not root.is_failed
    assert receiver.of_trace(unsampled) == []
    assert b"conv_private" not in b"".join(receiver.bodies)


async def test_a_replica_s_generation_belongs_to_the_trace_of_its_request(receiver: Receiver) -> None:
    trace_id = secrets.token_hex(16)
    body = b'{"model":"quick","messages":[{"role":"user","content":"hello"}]}'
    replica = ScriptedReplica(MODEL)
    found: list[Message | Progress] = []
    for parent in (traceparent(trace_id), traceparent(secrets.token_hex(16), "00"), ""):
        request = ModelRequest("r", body, stream=False, traceparent=parent)
        found += [message async for message in traced(request, "quick", replica.generate(request))]
    await names_of(receiver, trace_id, "generate")
    (span,) = [span for span in receiver.spans() if span.name == "generate"]
    assert (span.service, span.trace_id) == ("chatllm-model", trace_id)
    assert span.attributes["gen_ai.usage.output_tokens"] == 8
    assert len(found) >= 3
