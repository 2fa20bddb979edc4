"""Replicas are frozen under the running service: each is found within 15 s, ended and replaced, and costs a pause."""

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest

from tests.launched import Launched
from tests.serve.test_faults import HELLO, PATH, Continued, assert_whole, ingress_urls, replicas, under_way
from tests.serve.test_replicas import begun, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FOUND_S = 15.0


async def freeze(pid: int) -> float:
    """Freeze a process, and return how long it took until somebody ended it; TimeoutError after 15 s."""
    began = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(FOUND_S):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def replaced(service: Launched, deployment: str, count: int, frozen: int) -> None:
    async with asyncio.timeout(60):
        while len(found := replicas(service, deployment)) < count or frozen in found:
            await asyncio.sleep(0.5)


async def test_requests_beside_a_frozen_model_replica_are_answered_by_the_other(service: Launched) -> None:
    frozen, _ = replicas(service, "model-quick")
    finding = asyncio.create_task(freeze(frozen))
    async with service.client() as http:
        asked = [http.post(PATH, json=HELLO, headers={"cache-control": "no-store"}) for _ in range(20)]
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        await finding
        assert (await http.get("/health")).status_code == 200
        statuses += [(await http.post(PATH, json=HELLO)).status_code for _ in range(20)]
    assert statuses == [200] * 40
    await replaced(service, "model-quick", 2, frozen)


async def test_streams_and_whole_answers_go_on_when_their_only_model_replica_is_frozen(service: Launched) -> None:
    async with service.client() as http:
        http.timeout = httpx.Timeout(120)
        answers, reading = await under_way(http)
        [before] = replicas(service, "model-slow")
        finding = asyncio.create_task(freeze(before))
        later = Continued(http, "the next request", stream=True)
        await asyncio.gather(finding, later.read(), *reading)
        for answer in [*answers, later]:
            await assert_whole(http, answer)


@dataclass
class Call:
    """A streamed answer that thinks and then calls a tool, with arguments of some two hundred tokens."""

    number: int
    is_response: bool
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def read(self, http: httpx.AsyncClient) -> None:
        async with http.stream("POST", "/v1/responses" if self.is_response else PATH, json=self._body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    self.events.append(json.loads(line.removeprefix("data: ")))

    @property
    def _body(self) -> dict[str, Any]:
        asked = f'What is the weather in "{self.number} {"abcdefg " * 8}"?'
        properties = {f"city_{number}": {"type": "string"} for number in range(20)}
        function = {"name": "get_weather", "parameters": {"type": "object", "properties": properties}}
        body: dict[str, Any] = {"model": "slow", "stream": True}
        if self.is_response:
            tool = {"type": "function", **function}
            return {**body, "input": asked, "tools": [tool], "reasoning": {"effort": "low"}, "store": False}
        messages = [{"role": "user", "content": asked}]
        tools = [{"type": "function", "function": function}]
        return {**body, "messages": messages, "tools": tools, "reasoning_effort": "low"}

    @property
    def said(self) -> tuple[str, str, str]:
        """What was thought, which tool is called, and with what, put together from the events."""
        assert not any("error" in event and event["error"] for event in self.events), self.events[-1]
        if self.is_response:
            assert [event["sequence_number"] for event in self.events] == list(range(len(self.events)))
            assert self.events[-1]["type"] == "response.completed"
            return self._of("reasoning_text.delta", "delta"), self._name, self._of("arguments.delta", "delta")
        deltas = [choice["delta"] for event in self.events for choice in event["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
        assert self.events[-1]["choices"][0]["finish_reason"] == "tool_calls"
        assert len({call["id"] for call in calls if call.get("id")}) == 1
        names = "".join(call["function"].get("name") or "" for call in calls)
        arguments = "".join(call["function"].get("arguments") or "" for call in calls)
        return "".join(delta.get("reasoning") or "" for delta in deltas), names, arguments

    @property
    def _name(self) -> str:
        [call] = [item for item in self.events[-1]["response"]["output"] if item["type"] == "function_call"]
        assert call["arguments"] == self._of("arguments.delta", "delta")
        return call["name"]

    def _of(self, kind: str, key: str) -> str:
        return "".join(event[key] for event in self.events if event["type"].endswith(kind))


async def test_reasoning_and_tool_calls_go_on_when_their_model_replica_is_frozen(service: Launched) -> None:
    async with service.client() as http:
        http.timeout = httpx.Timeout(120)
        undisturbed = [Call(number, is_response) for number in range(3) for is_response in (False, True)]
        await asyncio.gather(*(call.read(http) for call in undisturbed))
        calls = [Call(call.number, call.is_response) for call in undisturbed]
        reading = [asyncio.create_task(call.read(http)) for call in calls]
        async with asyncio.timeout(30):
            while not all(len(call.events) > 40 for call in calls):
                await asyncio.sleep(0.02)
        [before] = replicas(service, "model-slow")
        await asyncio.gather(freeze(before), *reading)
    for call, expected in zip(calls, undisturbed, strict=True):
        assert call.said == expected.said
        assert call.said[:2] == ("Let me repeat that.", "get_weather")
        assert f"{call.number} abcdefg" in call.said[2]


async def test_responses_of_a_frozen_ingress_replica_are_run_by_the_other(service: Launched) -> None:
    frozen = next(iter((await ingress_urls(service)).values()))
    ids = [await begun(service, 200) for _ in range(6)]
    await freeze(frozen)
    for found in [await ended(service, one) for one in ids]:
        assert (found["status"], found["error"]) == ("incomplete", None)
        assert found["output"][0]["content"][0]["text"] == "hello " * 200
    async with service.client() as http:
        assert [(await http.post(PATH, json=HELLO)).status_code for _ in range(20)] == [200] * 20
    await replaced(service, "Ingress", 2, frozen)
