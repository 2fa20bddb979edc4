"""Which replicas a request is tried on: first the one that knows its prompt, and those that hold its adapter."""

import asyncio
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.config import RequestRouterConfig

from deployments.app import ROUTER
from deployments.infra.ray.router import PowerOfTwoChoicesRequestRouter
from deployments.lora.types import Adapter
from deployments.models.protocol import ModelRequest
from deployments.models.router import ADAPTERS, ObservedRouter

PIRATE = Adapter("guide", "pirate", "pirate", "a" * 64, 8, 1)


@dataclass(frozen=True)
class ReplicaId:
    unique_id: str


class Router(ObservedRouter):
    """The router with replicas that a test gives it, and nothing of Serve around it."""

    def __init__(self, **held: list[str] | None) -> None:
        self.queue_lengths: dict[Any, int] = {}
        self._replicas = {
            name: SimpleNamespace(
                name=name,
                replica_id=ReplicaId(name),
                routing_stats=None if keys is None else {ADAPTERS: keys},
            )
            for name, keys in held.items()
        }

    @property
    def replica_queue_len_cache(self) -> Any:
        return self.queue_lengths

    @property
    def curr_replicas(self) -> Any:
        return self._replicas


@pytest.fixture(autouse=True)
def serve_s_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def choose(self: Any, candidates: Any, pending: Any = None) -> Any:
        return [["any"]]

    monkeypatch.setattr(PowerOfTwoChoicesRequestRouter, "choose_replicas", choose)


async def chosen(router: Router, adapter: Adapter | None, **more: Any) -> list[set[str]]:
    pending = SimpleNamespace(args=[ModelRequest("id", b"{}", False, adapter=adapter)])
    ranks = await router.choose_replicas([], more.get("pending", pending))
    return [{getattr(replica, "name", replica) for replica in rank} for rank in ranks]


async def test_replicas_that_hold_the_adapter_come_first() -> None:
    router = Router(a=[], b=[PIRATE.key], c=None, d=["guide:pirate@another content"])
    assert await chosen(router, PIRATE) == [{"b"}, {"any"}]


async def test_two_of_many_are_compared_by_their_queues() -> None:
    ranks = await chosen(Router(**{name: [PIRATE.key] for name in "abcd"}), PIRATE)
    assert len(ranks[0]) == 2 and ranks[1:] == [{"any"}]


@pytest.mark.parametrize("held", [[], ["guide:other@0"]])
async def test_where_none_holds_it_and_for_other_requests_it_is_as_always(held: list[str]) -> None:
    assert await chosen(Router(a=held), PIRATE) == [{"any"}]
    assert await chosen(Router(a=[PIRATE.key]), None) == [{"any"}]
    assert await chosen(Router(a=[PIRATE.key]), PIRATE, pending=None) == [{"any"}]
    assert await chosen(Router(a=[PIRATE.key]), PIRATE, pending=SimpleNamespace(args=[])) == [{"any"}]


async def test_the_replica_that_knows_the_prompt_comes_before_all_others_unless_it_is_busy() -> None:
    router = Router(a=[], b=[], c=[])
    pending = SimpleNamespace(args=[ModelRequest("id", b"{}", False, head=b"head")])
    replicas: Any = list(router.curr_replicas.values())
    ((first,), others) = await router.choose_replicas(replicas, pending)  # type: ignore[arg-type]
    assert others == ["any"] and (await router.choose_replicas(replicas[::-1], pending))[0] == [first]  # type: ignore[arg-type]
    router.queue_lengths[first.replica_id] = 100
    ((second,), _) = await router.choose_replicas(replicas, pending)  # type: ignore[arg-type]
    assert second is not first
    assert await router.choose_replicas(replicas[:1], pending) == [["any"]]  # type: ignore[arg-type]


async def test_a_request_of_the_version_before_has_no_head() -> None:
    router, request = Router(a=[], b=[]), ModelRequest("id", b"{}", False)
    object.__delattr__(request, "head")
    replicas: Any = list(router.curr_replicas.values())
    assert await router.choose_replicas(replicas, SimpleNamespace(args=[request])) == [["any"]]  # type: ignore[arg-type]


async def test_of_those_that_hold_the_adapter_the_one_that_knows_the_prompt_comes_first() -> None:
    router = Router(a=[], b=[PIRATE.key], c=[PIRATE.key], d=[])
    for head in (b"one", b"two", b"three", b"four"):
        pending = SimpleNamespace(args=[ModelRequest("id", b"{}", False, adapter=PIRATE, head=head)])
        first, holding, *_ = await router.choose_replicas(list(router.curr_replicas.values()), pending)  # type: ignore[arg-type]
        assert first[0] in holding and len(holding) == 2


NOTE_IN_ANOTHER_PROCESS = """
import sys
from collections import deque
from ray import cloudpickle
from types import SimpleNamespace
from deployments.infra.ray.router import PowerOfTwoChoicesRequestRouter
from deployments.models.presence import presence

router = cloudpickle.loads(sys.stdin.buffer.read())
PowerOfTwoChoicesRequestRouter.update_replicas = lambda self, replicas: None
made = router.__new__(router)
made._deployment_id = SimpleNamespace(app_name="app", name="it")
made.update_replicas([SimpleNamespace(routing_stats={"slots": 8}, max_ongoing_requests=n) for n in (4, 16)])
print(presence("app", "it").replicas, presence("app", "it").places)
"""


def test_what_serve_makes_of_it_in_another_process_is_known_there() -> None:
    """Serve sends the class by value: what its module defines is another there than what the process imports."""
    config = RequestRouterConfig(request_router_class=ROUTER)  # pyright: ignore[reportArgumentType] - Ray types it wrongly
    sent = config.get_serialized_request_router_cls()
    told = subprocess.run([sys.executable, "-c", NOTE_IN_ANOTHER_PROCESS], input=sent, capture_output=True, check=True)
    assert told.stdout.strip().endswith(b"2 ((8, 4), (8, 16))")


IN_A_VERSION_BEFORE = """
import sys
from ray import cloudpickle
from ray.serve.request_router import RunningReplica
from deployments.infra.ray import router as ray_router

del ray_router.ReachableReplica
RunningReplica.__init__ = lambda self, replica_info: None
router = cloudpickle.loads(sys.stdin.buffer.read())
print(type(router.__new__(router).create_replica_wrapper(None)).__name__)
"""


def test_an_ingress_of_the_version_before_can_load_it() -> None:
    config = RequestRouterConfig(request_router_class=ROUTER)  # pyright: ignore[reportArgumentType] - Ray types it wrongly
    sent = config.get_serialized_request_router_cls()
    loaded = subprocess.run([sys.executable, "-c", IN_A_VERSION_BEFORE], input=sent, capture_output=True, check=True)
    assert loaded.stdout.split()[-1] == b"RunningReplica"


class Full(ObservedRouter):
    """A router whose replicas are full, and nothing of Serve around it."""

    def __init__(self) -> None:
        self._waiting_for_room = deque()

    def _compute_backoff_s(self, attempt: int) -> float:
        return 60.0 if attempt else 0.01


@pytest.fixture
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PowerOfTwoChoicesRequestRouter, "decrement_queue_len_cache", lambda self, replica_id: None)


@pytest.mark.usefixtures("nothing_counted")
async def test_each_request_that_ends_lets_one_look_for_room_at_once() -> None:
    router = Full()
    router.decrement_queue_len_cache("nobody waits")
    first, second = (asyncio.create_task(router._backoff(1)) for _ in range(2))
    await asyncio.sleep(0)
    router.decrement_queue_len_cache("a")
    async with asyncio.timeout(10):
        await first
    assert not second.done()
    second.cancel()
    await asyncio.wait((second,))
    assert not router._waiting_for_room


@pytest.mark.usefixtures("nothing_counted")
async def test_where_no_request_ends_it_is_looked_for_after_serve_s_own_pause() -> None:
    router = Full()
    async with asyncio.timeout(10):
        await router._backoff(0)
    assert not router._waiting_for_room
    router.decrement_queue_len_cache("a")
