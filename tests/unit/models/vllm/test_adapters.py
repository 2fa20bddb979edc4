"""What becomes of adapters in one engine: loaded once, dropped when unused, and never other weights than were meant."""

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest

from deployments.config import AdapterLoading, VLLMModel
from deployments.errors import BadRequest, Overloaded, Unavailable
from deployments.lora.files import checked
from deployments.lora.types import Adapter
from tests.adapters import write_adapter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels
    from vllm.lora.request import LoRARequest
    from vllm.utils.counter import AtomicCounter

    from deployments.models.vllm.adapters import HeldAdapters, ServedNames

BASE = Path(__file__).parents[4] / "demo_model" / "weights"


class Engine:
    """What an engine is told of adapters, by their ids."""

    def __init__(self) -> None:
        self.loaded: dict[int, str] = {}
        self.loads = 0
        self.fault: Exception | None = None
        self.while_loading: Any = lambda: None

    async def add_lora(self, request: LoRARequest) -> bool:
        self.loads += 1
        self.loaded[request.lora_int_id] = request.lora_name
        await asyncio.sleep(0.01)
        self.while_loading()
        if self.fault:
            raise self.fault
        return True

    async def remove_lora(self, lora_id: int) -> bool:
        return self.loaded.pop(lora_id, None) is not None


class Names:
    """vLLM's list of adapters, as far as ours are put into it."""

    def __init__(self) -> None:
        self.lora_requests: dict[str, LoRARequest] = {}
        self.lora_id_counter = AtomicCounter(0)


class Replica:
    """An engine, its adapters, and a folder of four that can be loaded, two at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for seed, name in enumerate("abcd"):
            write_adapter(root / name, BASE, seed=seed)
        loading = AdapterLoading(folders=(str(root),), max_adapters=1)
        self.model = VLLMModel(id="guide", engine={"model": str(BASE)}, adapter_loading=loading)
        self.engine, self.names = Engine(), Names()
        names: Any = self.names
        engine: Any = self.engine
        self.held = HeldAdapters(self.model, engine, names)

    def adapter(self, source: str, name: str = "pirate") -> Adapter:
        return checked(self.model, name, source)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    return Replica(tmp_path)


async def test_requests_at_once_load_an_adapter_once_and_it_stays(replica: Replica) -> None:
    adapter = replica.adapter("a")

    async def request() -> str:
        async with replica.held.used(adapter) as name:
            return name

    assert set(await asyncio.gather(*(request() for _ in range(8)))) == {adapter.key}
    assert (replica.engine.loads, replica.held.ids) == (1, [adapter.key])
    assert set(replica.names.lora_requests) == {adapter.key}
    async with replica.held.used(None) as name:
        assert name == ""


async def test_one_that_is_replaced_goes_when_its_last_request_has_ended(replica: Replica) -> None:
    old, new = replica.adapter("a"), replica.adapter("b")
    async with replica.held.used(old):
        await replica.held.hold([new])
        assert set(replica.engine.loaded.values()) == {old.key, new.key}, "both run: same name, other weights"
    assert set(replica.engine.loaded.values()) == set(replica.names.lora_requests) == {new.key}
    await replica.held.hold([])
    assert (replica.engine.loaded, replica.names.lora_requests) == ({}, {})


async def test_there_are_never_more_than_the_engine_has_room_for(replica: Replica) -> None:
    a, b, c = (replica.adapter(source) for source in "abc")
    async with replica.held.used(a):
        async with replica.held.used(b):
            with pytest.raises(Overloaded):
                async with replica.held.used(c):
                    pass
        async with replica.held.used(c):
            assert set(replica.engine.loaded.values()) == {a.key, c.key}


async def test_other_files_than_were_meant_are_not_served(replica: Replica) -> None:
    meant = replica.adapter("a")
    other = (replica.root / "b" / "adapter_model.safetensors").read_bytes()
    replica.engine.while_loading = lambda: (replica.root / "a" / "adapter_model.safetensors").write_bytes(other)
    with pytest.raises(Unavailable):
        async with replica.held.used(meant):
            pass
    with pytest.raises(BadRequest, match="have changed"):
        await replica.held._load(meant)
    assert (replica.engine.loaded, replica.held.ids) == ({}, [])


async def test_what_the_engine_refuses_is_said_and_leaves_nothing(replica: Replica) -> None:
    replica.engine.fault = ValueError("target modules are wrong.\nTraceback …")
    with pytest.raises(BadRequest, match=r"vLLM cannot load the adapter: target modules are wrong\.$"):
        await replica.held.load("pirate", "a")
    await replica.held.hold([replica.adapter("a")])
    assert (replica.engine.loaded, replica.held.ids) == ({}, [])
    replica.engine.fault = None
    assert (await replica.held.load("pirate", "a")).key in replica.held.ids


async def test_an_administrator_who_leaves_leaves_no_adapter_that_nobody_knows_of(replica: Replica) -> None:
    loading = asyncio.create_task(replica.held.load("pirate", "a"))
    while not replica.engine.loads:
        await asyncio.sleep(0)
    loading.cancel()
    await asyncio.wait([loading])
    await asyncio.sleep(0.1)
    assert replica.held.ids == list(replica.engine.loaded.values())


def test_an_answer_names_an_adapter_as_the_api_does() -> None:
    names = ServedNames.__new__(ServedNames)
    adapter = Adapter("guide", "pirate", "pirate", "a" * 64, 8, 1)
    assert isinstance(names, OpenAIServingModels)
    assert names.model_name(LoRARequest(adapter.key, 1, "/somewhere")) == "guide:pirate"
