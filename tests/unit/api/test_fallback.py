"""Another model answers where the one that was asked for cannot, and everything is kept under its name."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.config import ScriptedModel, Settings
from deployments.errors import (
    BadRequest,
    ChatLLMError,
    ModelFailed,
    ModelLoading,
    Overloaded,
    ProviderBusy,
    ProviderFailed,
)
from deployments.models.protocol import Failed, ModelRequest, Put
from deployments.queueing.job import Job
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
REFUSALS: list[ChatLLMError] = [ModelLoading(), ModelFailed(), Overloaded(), ProviderBusy(), ProviderFailed()]


def model(name: str, *fallback: str, **more: Any) -> ScriptedModel:
    settings: dict[str, Any] = {"id": name, "kind": "scripted", "fallback": fallback, "tokens": 4}
    return ScriptedModel(**settings, **more)


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    """`first` falls back to `second` and then to `third`, and each of them to `alone`."""
    models = model("first", "second", "third"), model("second", "alone"), model("third", "alone"), model("alone")
    async with running(*models) as service:
        yield service


class Refusing:
    """Lets models refuse with an error, and notes the requests that they refuse."""

    def __init__(self, service: Service) -> None:
        self.errors: dict[str, ChatLLMError] = {}
        self.asked: list[str] = []
        self._generate = service.models.generate

    async def generate(self, model: str, request: ModelRequest, put: Put, job: Job | None = None) -> None:
        error = self.errors.get(model)
        if error:
            self.asked.append(model)
            put(Failed(type(error)(error.message, error.param, error.retry_after_s)))
            return
        await self._generate(model, request, put, job)


def refuse(service: Service, **errors: ChatLLMError) -> Refusing:
    refusing = Refusing(service)
    refusing.errors = errors
    service.models.generate = refusing.generate  # type: ignore[method-assign]
    return refusing


def body(text: str = "hello there", **more: Any) -> dict[str, Any]:
    return {"model": "first", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_that_can_answers_and_says_so(service: Service, error: ChatLLMError, stream: bool) -> None:
    refuse(service, first=error, second=Overloaded())
    response = await service.http.post(PATH, json=body(stream=stream))
    assert (response.status_code, response.headers["x-chatllm-model"]) == (200, "third")
    said = json.loads(response.text.splitlines()[0].removeprefix("data: ")) if stream else response.json()
    assert said["model"] == "third"


async def test_a_model_that_can_is_not_replaced(service: Service) -> None:
    refuse(service, second=Overloaded())
    assert (await service.http.post(PATH, json=body())).headers["x-chatllm-model"] == "first"


@pytest.mark.parametrize("error", [ChatLLMError(), None])
async def test_what_is_due_to_the_request_or_happens_later_is_no_reason(
    service: Service, error: ChatLLMError | None
) -> None:
    if error:
        refuse(service, first=error)
        response = await service.http.post(PATH, json=body())
    else:
        response = await service.http.post(PATH, json=body(seed="x"))
    assert response.status_code == (500 if error else 400) and "x-chatllm-model" not in response.headers


async def test_none_can_and_the_client_hears_of_its_own_model(service: Service) -> None:
    wait = ModelLoading("The model 'first' is still loading.", None, 7.0)
    refusing = refuse(service, first=wait, second=Overloaded(), third=ModelFailed())
    response = await service.http.post(PATH, json=body(), headers={"x-chatllm-wait": "0"})
    assert (response.status_code, response.json()["error"]["message"]) == (503, wait.message)
    assert response.headers["retry-after"] == "7"
    assert refusing.asked == ["first", "second", "third"]  # the fallback of a fallback is not asked


async def test_a_fallback_that_refuses_the_request_is_passed_over(service: Service) -> None:
    refuse(service, first=Overloaded(), second=BadRequest("It has no 'seed'.", "seed"))
    assert (await service.http.post(PATH, json=body())).headers["x-chatllm-model"] == "third"


async def test_an_answer_is_stored_as_that_of_who_gave_it(service: Service) -> None:
    plain = service.models.generate
    refuse(service, first=Overloaded())
    await service.http.post(PATH, json=body("who are you"))
    async with asyncio.timeout(5):
        while (hit := await service.http.post(PATH, json=body("who are you"))).headers["x-cache"] != "HIT":
            await asyncio.sleep(0.02)
    assert (hit.headers["x-chatllm-model"], hit.json()["model"]) == ("second", "second")
    own = await service.http.post(PATH, json=body("who are you", model="second"))
    assert own.headers["x-cache"] == "HIT"
    service.models.generate = plain  # type: ignore[method-assign]
    fresh = await service.http.post(PATH, json=body("who are you"))
    assert (fresh.headers["x-cache"], fresh.headers["x-chatllm-model"]) == ("MISS", "first")


async def test_a_stored_answer_of_the_model_itself_comes_first(service: Service) -> None:
    await service.http.post(PATH, json=body("once"))
    refuse(service, first=Overloaded())
    async with asyncio.timeout(5):
        while (hit := await service.http.post(PATH, json=body("once"))).headers["x-chatllm-model"] != "first":
            await asyncio.sleep(0.02)
    assert hit.headers["x-cache"] == "HIT"


async def test_identical_requests_share_the_fallbacks_answer(service: Service) -> None:
    refuse(service, first=Overloaded())
    many = await asyncio.gather(*(service.http.post(PATH, json=body("all at once", stream=True)) for _ in range(6)))
    assert {response.headers["x-chatllm-model"] for response in many} == {"second"}
    assert sorted(response.headers["x-cache"] for response in many) == ["JOIN"] * 5 + ["MISS"]


async def test_it_counts_once_and_under_the_name_of_who_answered(service: Service) -> None:
    _, secret = await service.keys.create("limited", {"requests_per_minute": 5})
    headers = {"authorization": f"Bearer {secret}"}
    refuse(service, first=Overloaded())
    response = await service.http.post(PATH, json=body(), headers=headers)
    assert response.headers["x-ratelimit-remaining-requests"] == "4"
    async with asyncio.timeout(3):
        while service.usage.pending:
            await asyncio.sleep(0.01)
    used = await service.http.get("/v1/usage", params={"group_by": "model"}, headers=headers)
    assert [(row["model"], row["requests"], row["errors"]) for row in used.json()["data"]] == [("second", 1, 0)]


async def test_the_conversation_goes_on_with_whoever_answers(service: Service) -> None:
    conversation = (await service.http.post("/v1/conversations", json={})).json()["id"]
    await service.http.post(PATH, json=body("my name is Ann", conversation=conversation))
    refuse(service, first=Overloaded())
    second = await service.http.post(PATH, json=body("and now", conversation=conversation, store=True))
    assert second.headers["x-chatllm-model"] == "second"
    items = (await service.http.get(f"/v1/conversations/{conversation}/items")).json()["data"]
    assert [item["role"] for item in items] == ["assistant", "user"] * 2
    async with asyncio.timeout(3):
        while not (kept := (await service.http.get(PATH)).json()["data"]):
            await asyncio.sleep(0.02)
    assert [completion["model"] for completion in kept] == ["second"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_falls_back_too(service: Service, stream: bool) -> None:
    refuse(service, first=ModelFailed())
    response = await service.http.post("/v1/responses", json={"model": "first", "input": "hello", "stream": stream})
    assert (response.status_code, response.headers["x-chatllm-model"]) == (200, "second")
    shown = responses_in(response.text) if stream else [response.json()]
    assert {one["model"] for one in shown} == {"second"}
    async with asyncio.timeout(5):
        while (kept := await service.http.get(f"/v1/responses/{shown[0]['id']}")).json()["status"] != "completed":
            await asyncio.sleep(0.02)
    assert kept.json()["model"] == "second"


async def test_a_response_in_the_background_says_who_answers_once_that_is_known(service: Service) -> None:
    refuse(service, first=ModelFailed())
    body = {"model": "first", "input": "hello", "stream": True, "background": True}
    response = await service.http.post("/v1/responses", json=body)
    shown = responses_in(response.text)
    assert [(one["status"], one["model"]) for one in shown] == [
        ("queued", "first"),
        ("in_progress", "second"),
        ("completed", "second"),
    ]
    assert (await service.http.get(f"/v1/responses/{shown[0]['id']}")).json()["model"] == "second"


def responses_in(events: str) -> list[dict[str, Any]]:
    """Return the response objects of a stream."""
    told = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    return [event["response"] for event in told if "response" in event]


async def test_embeddings_are_never_another_models() -> None:
    makes = {"embedding_dimensions": 8}
    async with running(model("first", "second", **makes), model("second", **makes)) as service:
        refuse(service, first=Overloaded())
        refused = await service.http.post("/v1/embeddings", json={"model": "first", "input": "a"})
        assert refused.status_code == 503
        completion = await service.http.post("/v1/completions", json={"model": "first", "prompt": "a"})
        assert completion.headers["x-chatllm-model"] == "second"


@pytest.mark.parametrize("fallback", ["nobody", "first"])
def test_a_fallback_is_another_model_of_the_file(fallback: str) -> None:
    with pytest.raises(ValidationError, match="is not another one of"):
        Settings(models=(model("first", fallback), model("second")))


@pytest.mark.parametrize(
    ("models", "cycle"),
    [
        ((model("first", "second"), model("second", "first")), "first -> second -> first"),
        ((model("first", "second"), model("second", "third"), model("third", "second")), "second -> third -> second"),
    ],
)
def test_a_cycle_of_fallbacks_is_refused_with_its_models(models: tuple[ScriptedModel, ...], cycle: str) -> None:
    with pytest.raises(ValidationError, match=f"fallback: {cycle} is a cycle: take one of them out"):
        Settings(models=models)


def test_two_ways_to_one_fallback_are_no_cycle() -> None:
    Settings(models=(model("first", "second", "third"), model("second", "third"), model("third")))
