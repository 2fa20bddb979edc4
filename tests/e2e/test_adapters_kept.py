"""LoRA adapters that are loaded while the service runs: from a hub, by several replicas, and after a restart."""

from collections.abc import Generator
from typing import Any

import httpx
import pytest
import yaml

from tests.adapters import write_adapter
from tests.hub import Hub, Repository, running_hub
from tests.launched import GUIDE, ROOT, START_TIMEOUT_S, Launched, launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DEMO = ROOT / "demo_model" / "weights"
ASK: Any = {"messages": [{"role": "user", "content": "What is ChatLLM?"}], "temperature": 0, "max_tokens": 16}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Generator[Hub]:
    """A hub with one adapter for the demo model."""
    folder = write_adapter(tmp_path_factory.mktemp("hub") / "noise", DEMO, seed=1, strength=0.1)
    with running_hub() as hub:
        hub.repositories["owner/noise"] = Repository({file.name: file.read_bytes() for file in folder.iterdir()})
        yield hub


@pytest.fixture(scope="module")
def service(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Generator[Launched]:
    """The demo model on two replicas behind two of the API, with adapters from the hub."""
    document = yaml.safe_load(GUIDE.read_text())
    document["applications"][1]["args"]["adapter_loading"] = {"hub": True, "max_adapters": 2}
    for deployment in [one for application in document["applications"] for one in application["deployments"]]:
        deployment |= {"num_replicas": 1 if deployment["name"] == "CacheLookup" else 2}
        deployment["ray_actor_options"] = {"num_cpus": 0.1}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        environment.setenv("HF_ENDPOINT", hub.url)
        environment.delenv("HF_HUB_OFFLINE", raising=False)
        with launched(document) as running:
            yield running


def answers(service: Launched, count: int) -> set[str]:
    """Return the different answers to one question of new connections, past the cache; every one must succeed."""
    found = set[str]()
    for _ in range(count):
        headers = {"authorization": f"Bearer {service.key}", "cache-control": "no-store", "connection": "close"}
        answer = httpx.post(
            f"{service.url}/v1/chat/completions", json={"model": "guide:noise", **ASK}, headers=headers, timeout=60
        )
        assert answer.status_code == 200, answer.text
        found.add(answer.json()["choices"][0]["message"]["content"])
    return found


def test_an_adapter_of_a_hub_answers_through_all_replicas_and_after_a_restart(service: Launched, hub: Hub) -> None:
    loaded = service.chatllm("models", "adapter", "load", "noise", "owner/noise")
    assert loaded.startswith("Loaded guide:noise  rank 8"), loaded
    assert any("owner/noise" in one.path for one in hub.asked)
    before = answers(service, 12)
    assert len(before) == 1, "both replicas have the same weights"
    service.chatllm("down")
    hub.asked.clear()
    again = ["up", "--detach", "--wait", "--no-page", "--config", str(service.folder / "service.yaml")]
    service.chatllm(*again, timeout_s=START_TIMEOUT_S)
    assert answers(service, 12) == before
    assert hub.asked == [], "what was downloaded is not asked for again"
    assert service.chatllm("models", "adapter", "list").startswith("guide:noise")
    assert service.chatllm("models", "adapter", "unload", "guide:noise") == "Unloaded guide:noise.\n"
    assert service.chatllm("models", "adapter", "list") == ""
    keys = service.chatllm("keys", "list").splitlines()
    assert all("revoked" in line for line in keys if "models adapter" in line)


def test_what_cannot_be_loaded_is_said(service: Launched) -> None:
    for arguments, reason in ((["load", "x", "owner/missing"], "owner/missing"), (["unload", "guide:x"], "guide:x")):
        with pytest.raises(AssertionError, match=reason):
            service.chatllm("models", "adapter", *arguments)
