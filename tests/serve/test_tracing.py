"""One trace per request over page, ingress, model and Postgres, as a real OTLP receiver gets it."""

import asyncio
import secrets
import time
from collections.abc import Generator

import pytest

from tests.launched import Launched, launched, service_file
from tests.otlp import Received, Receiver, receiving
from ui.api.completion import Completions
from ui.api.stream import Question
from ui.settings import ApiKey, Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATH = "/v1/chat/completions"
PROMPT = "a sentence that nobody else may read"


@pytest.fixture(scope="module")
def receiver() -> Generator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(scope="module")
def service(receiver: Receiver) -> Generator[Launched]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in receiver.environment.items():
            patch.setenv(name, value)  # this process is the page of the last test
        with launched(service_file([{"id": "quick", "kind": "scripted", "tokens": 16}], {})) as running:
            yield running


async def arrived(receiver: Receiver, trace_id: str, *names: str) -> dict[str, Received]:
    """Return a trace's spans by name, once those are there."""
    deadline = time.monotonic() + 30
    while not set(names) <= {span.name for span in receiver.of_trace(trace_id)}:
        assert time.monotonic() < deadline, receiver.of_trace(trace_id)
        await asyncio.sleep(0.1)
    return {span.name: span for span in receiver.of_trace(trace_id)}


async def test_a_client_s_trace_goes_on_through_ingress_model_and_postgres(
    service: Launched, receiver: Receiver
) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01"}
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        body = {"model": "quick", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
        answer = await http.post(PATH, json={**body, "conversation": conversation}, headers=headers)
        assert answer.status_code == 200
        request_id = answer.headers["x-request-id"]
    root = f"POST {PATH}"
    hops = ("auth", "body", "admission", "history", "cache", "first-frame", "decode")
    spans = await arrived(receiver, trace_id, root, "generate", "postgres", *hops)
    ingress, model = spans[root], spans["generate"]
    assert (ingress.service, ingress.parent_id) == ("chatllm-ingress", span_id)
    assert (model.service, model.parent_id) == ("chatllm-model", ingress.span_id)
    for name in (*hops, "postgres"):
        assert spans[name].parent_id == ingress.span_id
        span = spans[name]  # hops are timed by another clock than the span around them
        assert ingress.began_ns - 5_000_000 <= span.began_ns <= span.ended_ns <= ingress.ended_ns + 5_000_000, name
    assert ingress.attributes["http.response.status_code"] == 200
    assert ingress.attributes["chatllm.request_id"] == request_id
    assert ingress.attributes["gen_ai.request.model"] == model.attributes["gen_ai.request.model"] == "quick"
    assert ingress.attributes["gen_ai.usage.output_tokens"] == model.attributes["gen_ai.usage.output_tokens"] == 16
    assert not ingress.is_failed


async def test_what_is_not_sampled_is_not_sent_and_what_fails_says_so_without_its_message(
    service: Launched, receiver: Receiver
) -> None:
    unsampled, failing = secrets.token_hex(16), secrets.token_hex(16)
    body = {"model": "quick", "messages": [{"role": "user", "content": PROMPT}]}
    async with service.client() as http:
        for trace_id, flag, path in ((unsampled, "00", PATH), (failing, "01", "/v1/conversations/conv_secret-name")):
            headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-{flag}"}
            await (http.get(path, headers=headers) if flag == "01" else http.post(path, json=body, headers=headers))
    spans = await arrived(receiver, failing, "auth")
    (root,) = [span for span in spans.values() if span.name.startswith("GET")]
    assert root.attributes["http.response.status_code"] == 404
    assert receiver.of_trace(unsampled) == []


async def test_the_page_s_answers_begin_their_traces(service: Launched, receiver: Receiver) -> None:
    completions = Completions(Settings(service.url, ApiKey(service.key)))
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
    events = [event async for event in completions.ask(Question(conversation, f"{PROMPT} of the page", "quick"))]
    await completions.aclose()
    assert events
    deadline = time.monotonic() + 30
    while not (pages := [span for span in receiver.spans() if span.service == "chatllm-page"]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    (page,) = pages
    spans = await arrived(receiver, page.trace_id, "POST /v1/responses", "generate")
    assert spans["POST /v1/responses"].parent_id == page.span_id and page.parent_id == ""
    assert spans["generate"].service == "chatllm-model"


def test_nothing_of_a_prompt_an_answer_or_a_key_was_sent(service: Launched, receiver: Receiver) -> None:
    assert len(receiver.spans()) > 20
    sent = b"".join(receiver.bodies)
    for secret in (*PROMPT.split()[1:4], service.key, "secret-name"):
        assert secret.encode() not in sent
