"""Two replicas and one Postgres: what one begins, the other can cancel, stream and take over."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from datetime import date
from typing import Any

import orjson
import pytest

from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.steering import UNSTEERED, CacheControl
from deployments.cache.store import MemoryStore
from deployments.chat.service import ChatService
from deployments.chat.summary import Summary
from deployments.config import CacheSettings, KeyLimitSettings, ResponseSettings, ScriptedModel
from deployments.errors import HistoryUnavailable, NotFound
from deployments.history.postgres import PostgresHistory
from deployments.history.turns import StoredConversations
from deployments.history.writer import HistoryWriter
from deployments.infra.postgres.database import Database
from deployments.keys.types import KeyLimits
from deployments.limits.limiter import Limiter
from deployments.limits.memory import MemoryLimits
from deployments.models.in_process import InProcessModels
from deployments.responses.background import BackgroundResponses
from deployments.responses.postgres import PostgresResponses
from deployments.responses.request import read_call
from deployments.responses.service import Responses
from deployments.responses.types import NewResponse, StoredResponse

STALE_S = 0.8
LEASE_S = 1.5
LIMITS = KeyLimits(tokens_per_minute=6_000, concurrent_requests=20)
RESERVED = 3_000
SLOW = ScriptedModel(id="slow", kind="scripted", tokens=200, token_ms=10)


class Replica:
    """The parts of one ingress replica that background responses need; `die` ends it as kill -9 would."""

    def __init__(self, database: Database, limits: MemoryLimits, *models: ScriptedModel) -> None:
        history = PostgresHistory(database)
        self.store = PostgresResponses(database)
        self.writer = HistoryWriter(history, 100)
        self.model = InProcessModels(*models or (SLOW,))
        self.cache = CacheClient(CacheLookup(CacheSettings(), MemoryStore()), CacheSettings())
        chat = ChatService(StoredConversations(history, self.writer, 1_000_000), self.cache, self.model)
        responses = Responses(chat, self.model, self.store, history, self.writer, 1_000_000)
        settings = ResponseSettings(stale_after_s=STALE_S)
        self.limiter = Limiter(limits, no_usage, KeyLimitSettings(lease_s=LEASE_S))
        self.background = BackgroundResponses(
            responses, chat, self.store, self.writer, settings, lambda: 60, self, self.limiter.resume
        )
        self.summaries: list[Summary] = []

    def began(self) -> None: ...

    def ended(self, request_id: str, key_id: str, summary: Summary, status: int, stream: bool) -> None:
        self.summaries.append(summary)

    async def start(self, control: CacheControl = UNSTEERED, **more: Any) -> StoredResponse:
        body = {"model": "slow", "input": "hello", "background": True, "max_output_tokens": 40, **more}
        held = await self.limiter.admit("key_1", LIMITS, RESERVED)
        return await self.background.start("ann", "key_1", read_call(body, 10, control), held)

    async def standing(self) -> tuple[str | None, int]:
        """Return which limit refuses one more, and the tokens that are left."""
        verdict = (await self.limiter.admit("key_1", LIMITS)).verdict
        return verdict.refused_by, verdict.remaining_tokens

    async def events(self, response_id: str, after: int = -1) -> list[dict[str, Any]]:
        frames = b"".join([part async for part in self.background.follow("ann", response_id, after)])
        return [orjson.loads(frame.split(b"data: ", 1)[1]) for frame in frames.split(b"\n\n") if frame]

    async def ended_as(self, response_id: str, timeout_s: float = 10) -> StoredResponse:
        async with asyncio.timeout(timeout_s):
            while (found := await self.store.response("ann", response_id)).status in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
        return found

    async def die(self) -> None:
        tasks = {*self.background._tasks, self.background._sweeper, self.background._flusher, self.limiter._renewer}
        for task in tasks:
            assert task
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # type: ignore[arg-type]


@pytest.fixture
async def new_replica(database: Database) -> AsyncGenerator[Callable[[], Any]]:
    limits = MemoryLimits(LEASE_S)
    async with AsyncExitStack() as stack:

        async def make(*models: ScriptedModel) -> Replica:
            replica = Replica(database, limits, *models)
            await replica.limiter.open()
            await replica.writer.open()
            stack.push_async_callback(replica.writer.drain, 5)
            stack.push_async_callback(replica.cache.aclose)
            await replica.background.open()
            stack.push_async_callback(replica.background.aclose, 0)
            return replica

        yield make


async def test_events_are_the_same_from_any_replica_and_any_point(new_replica: Callable[[], Any]) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start()
    whole, other = await asyncio.gather(one.events(response.id), two.events(response.id))
    assert whole == other
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "hello " * 40
    assert await two.events(response.id, 7) == whole[8:]
    assert one.summaries[0].completion_tokens == 40


async def test_events_are_seen_as_they_come_where_the_response_runs(new_replica: Callable[[], Any]) -> None:
    one = await new_replica()
    response = await one.start(max_output_tokens=12)
    pieces = [piece async for piece in one.background.follow("ann", response.id, -1)]
    assert len(pieces) > 8, "one piece per token of 10 ms, not one per write"
    assert (await one.store.response("ann", response.id)).status == "incomplete", "who sees the end finds all of it"
    assert [event["sequence_number"] for event in await one.events(response.id)] == list(range(12 + 8))


async def test_who_falls_behind_goes_on_from_the_store(new_replica: Callable[[], Any]) -> None:
    one = await new_replica()
    response = await one.start(max_output_tokens=80)
    seen: list[bytes] = []
    async for part in one.background.follow("ann", response.id, -1):
        seen.append(part)
        if len(seen) == 2:
            await asyncio.sleep(0.7)  # several writes later, what was missed is no longer in memory
    events = [orjson.loads(frame.split(b"data: ", 1)[1]) for frame in b"".join(seen).split(b"\n\n") if frame]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.incomplete"


async def test_who_follows_a_response_of_a_dead_replica_goes_on_with_its_successor(
    new_replica: Callable[[], Any],
) -> None:
    one, _ = await new_replica(), await new_replica()
    response = await one.start(max_output_tokens=100)
    watching = asyncio.create_task(one.events(response.id))
    await asyncio.sleep(0.3)
    await one.die()
    events = await asyncio.wait_for(watching, 10)
    assert events[-1]["type"] in ("response.failed", "response.incomplete")


async def test_another_replica_cancels_within_a_second(new_replica: Callable[[], Any]) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start(max_output_tokens=200)
    await asyncio.sleep(0.3)
    assert await one.model.running("slow") == 1
    assert (await two.store.cancel("ann", response.id)).status == "cancelled"
    async with asyncio.timeout(2):
        while await one.model.running("slow"):
            await asyncio.sleep(0.01)
    events = await two.events(response.id)
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")


async def test_what_nobody_has_seen_is_run_again_when_its_replica_dies(new_replica: Callable[[], Any]) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start(instructions="be brief", metadata={"a": "b"})
    await asyncio.sleep(0.25)
    await one.die()
    found = await two.ended_as(response.id)
    assert (found.status, found.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert [item["content"][0]["text"] for item in found.output] == ["hello " * 40]
    assert found.usage and found.usage["input_tokens"] == 3
    events = await two.events(response.id)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def no_usage(key_id: str, since: date) -> int:
    return 0


async def test_its_key_pays_once_for_what_is_run_again_and_holds_its_place_all_the_while(
    new_replica: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.integration.test_background.LIMITS", KeyLimits(None, 6_000, 1))
    one, two = await new_replica(), await new_replica()
    response = await one.start(max_output_tokens=150)
    assert (await two.standing())[0] == "concurrent_requests"
    await asyncio.sleep(0.25)
    await one.die()
    async with asyncio.timeout(10):
        while not two.background._runs:
            await asyncio.sleep(0.02)
    while two.background._runs:
        refused_by, left = await two.standing()
        if two.background._runs:  # else it has ended meanwhile
            assert refused_by == "concurrent_requests" and left < 3_500
        await asyncio.sleep(0.1)
    await two.ended_as(response.id)
    assert [(summary.prompt_tokens, summary.completion_tokens) for summary in two.summaries] == [(1, 150)]
    assert [summary.completion_tokens for summary in one.summaries] == [0], "what it had done is the successor's"
    refused_by, left = await two.standing()
    assert refused_by is None and 5_800 <= left <= 6_000


async def test_a_response_that_fails_with_its_replica_gives_its_place_back_and_costs_what_was_said(
    new_replica: Callable[[], Any],
) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start(max_output_tokens=150)
    await two.store.show("ann", response.id)
    async with asyncio.timeout(10):
        while not (await two.store.events("ann", response.id, 8, 1)).batches:
            await asyncio.sleep(0.02)
    await one.die()
    assert (await two.ended_as(response.id)).status == "failed"
    async with asyncio.timeout(5):
        while not two.summaries:
            await asyncio.sleep(0.02)
    (paid,) = two.summaries
    assert 5 < paid.completion_tokens < 150 and paid.prompt_tokens > 0
    _, left = await two.standing()
    assert left > 5_700


async def test_one_that_can_not_be_run_again_costs_the_others_nothing(new_replica: Callable[..., Any]) -> None:
    one = await new_replica(SLOW.model_copy(update={"id": "gone"}), SLOW)
    lost = [await one.start(model=model) for model in ("slow", "gone", "slow", "gone", "slow", "slow")]
    await one.die()
    two = await new_replica()  # its models are others by now
    found = [await two.ended_as(response.id, 20) for response in lost]
    assert [(each.request["model"], each.status) for each in found] == [
        (each.request["model"], "failed" if each.request["model"] == "gone" else "incomplete") for each in lost
    ]


@pytest.mark.parametrize(("control", "kept"), [(CacheControl(no_store=True), 0), (UNSTEERED, 1)])
async def test_what_is_run_again_still_knows_what_was_asked_of_the_cache(
    new_replica: Callable[[], Any], control: CacheControl, kept: int
) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start(control, temperature=0)
    await asyncio.sleep(0.25)
    await one.die()
    assert (await two.ended_as(response.id)).output
    await two.cache.aclose()
    assert two.cache.stored == kept
    assert [summary.cache_reason for summary in two.summaries] == [control.header.replace("-", "_") or "absent"]


async def test_what_somebody_has_seen_fails_clearly_when_its_replica_dies(new_replica: Callable[[], Any]) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start(max_output_tokens=300)
    seen: list[bytes] = []

    async def watch() -> None:
        await two.store.show("ann", response.id)
        seen.extend([part async for part in two.background.follow("ann", response.id, -1)])

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(10):
        while not (await two.store.events("ann", response.id, 8, 1)).batches:
            await asyncio.sleep(0.02)
    await one.die()
    await asyncio.wait_for(watching, 10)
    found = await two.ended_as(response.id)
    assert found.status == "failed"
    assert found.error == {
        "code": "server_error",
        "message": "The server that generated this response was lost.",
        "reason": "unavailable",
    }
    (said,) = found.output
    assert said["status"] == "incomplete" and said["content"][0]["text"].startswith("hello hello "), "what was said"
    events = await two.events(response.id)
    assert events[-1]["type"] == "response.failed"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    # Who saw events that the lost replica had not written yet is told of the end, too.
    unwritten = max(number for number in numbers if number < 100_000) + 50
    assert (await two.events(response.id, after=unwritten))[-1]["type"] == "response.failed"


async def test_what_is_cancelled_while_its_replica_is_dead_ends(new_replica: Callable[[], Any]) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start()
    await asyncio.sleep(0.1)
    await one.die()
    await two.store.cancel("ann", response.id)
    events = await asyncio.wait_for(two.events(response.id), 10)
    assert events[-1]["response"]["status"] == "cancelled"


async def test_a_replica_that_closes_leaves_its_responses_to_others_at_once(new_replica: Callable[[], Any]) -> None:
    one, two = await new_replica(), await new_replica()
    response = await one.start(max_output_tokens=100)
    await asyncio.sleep(0.25)
    await one.background.aclose(0)
    found = await two.ended_as(response.id)
    assert [item["content"][0]["text"] for item in found.output] == ["hello " * 100]


@pytest.mark.parametrize("has_begun", [True, False])
@pytest.mark.parametrize("error", [HistoryUnavailable, asyncio.CancelledError])
async def test_what_was_not_promised_is_not_run(
    new_replica: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, has_begun: bool, error: type[BaseException]
) -> None:
    """The store commits and its answer is lost, or it never got that far; it stays away for a while."""
    one, two = await new_replica(), await new_replica()
    begin, cancel, begun, tries = one.store.begin, one.store.cancel, [], []

    async def lose(new: NewResponse) -> None:
        begun.append(new.id)
        if has_begun:
            await begin(new)
        raise error

    async def late(tenant: str, response_id: str) -> StoredResponse:
        tries.append(response_id)
        if len(tries) < 3:
            raise HistoryUnavailable
        return await cancel(tenant, response_id)

    monkeypatch.setattr(one.store, "begin", lose)
    monkeypatch.setattr(one.store, "cancel", late)
    with pytest.raises(error):
        await one.start()
    async with asyncio.timeout(10):
        while one.writer.pending:
            await asyncio.sleep(0.02)
    assert tries == begun * 3
    if has_begun:
        assert (await one.ended_as(begun[0])).status == "cancelled"
    else:
        with pytest.raises(NotFound):
            await one.store.response("ann", begun[0])
    await asyncio.sleep(2 * STALE_S)
    assert not one.summaries and not two.summaries
