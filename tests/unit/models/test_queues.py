"""The queues in front of models: how much engines are given, and what passes them by."""

import asyncio
import time

import pytest

from deployments.config import ModelBase, ScriptedModel, VLLMModel
from deployments.models.presence import presence
from deployments.models.protocol import Endpoint
from deployments.models.queues import UNBOUNDED, ModelQueues, capacity
from deployments.queueing import leasing
from deployments.queueing.job import Job
from deployments.queueing.shares import MemoryCapacity

PLACE = ("app", "model-it")
ENDPOINTS: tuple[Endpoint, ...] = ("chat", "tokenize")
SCRIPTED = ScriptedModel(id="it", kind="scripted", slots=4)
VLLM = VLLMModel(id="it", engine={"model": "x", "max_num_seqs": 32})


@pytest.mark.parametrize(
    ("model", "places", "expected"),
    [
        (VLLM, (), 32),
        (VLLM, ((0, 512),), 32),
        (VLLM, ((64, 512), (64, 512)), 128),
        (VLLM, ((64, 48), (0, 512)), 80),
        (SCRIPTED, ((0, 512), (0, 512)), 8),
        (ScriptedModel(id="it", kind="scripted"), ((0, 512), (0, 256)), 768),
        (ScriptedModel(id="it", kind="scripted"), (), UNBOUNDED),
    ],
)
def test_engines_get_what_they_hold(model: ModelBase, places: tuple[tuple[int, int], ...], expected: int) -> None:
    place = ("app", f"{model.kind}-{places}")  # type: ignore[attr-defined]
    presence(*place).places = places
    assert capacity(model, place) == expected


async def test_the_tokenizer_waits_for_nobody() -> None:
    queues = ModelQueues(lambda model, place: 1)
    full, past = (queues.admitted(SCRIPTED, PLACE, endpoint, None) for endpoint in ENDPOINTS)
    async with asyncio.timeout(5), full, past:
        assert queues.gate(SCRIPTED, PLACE).queue.waiting == 0


async def test_a_models_first_request_asks_for_its_share_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leasing, "RENEW_S", 600.0)
    store = MemoryCapacity(time.monotonic, 600.0)
    await store.renew("app/model-it", "another", 8, 8, 0)
    queues = ModelQueues(lambda model, place: 8)
    await queues.share(store)
    await asyncio.sleep(2 * leasing.SOON_S)  # there is nothing to renew so far
    gate = queues.gate(SCRIPTED, PLACE)
    async with asyncio.timeout(10):
        while gate.queue.slots.capacity == 8:
            await asyncio.sleep(0.01)
            async with gate.admitted(Job()):
                pass
    await queues.aclose()
    assert gate.queue.slots.capacity == 1, "the other has all but what each has at least"


async def test_the_queue_of_a_removed_model_is_forgotten_once_nothing_is_in_it() -> None:
    queues = ModelQueues(lambda model, place: 1)
    other = ("app", "model-other")
    async with queues.admitted(SCRIPTED, PLACE, "chat", None):
        async with queues.admitted(ScriptedModel(id="other", kind="scripted"), other, "chat", None):
            pass
        queues.keep([])
        assert list(queues.waiting()) == ["it"]
    kept = queues.gate(SCRIPTED, PLACE)
    queues.keep([PLACE])
    assert queues.gate(SCRIPTED, PLACE) is kept
    queues.keep([other])
    assert queues.waiting() == {}
    assert queues.gate(SCRIPTED, PLACE) is not kept
