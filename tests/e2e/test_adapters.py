"""LoRA adapters on the real engine, of a model that was pulled from a hub and is served without one."""

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from tests.adapters import write_adapter
from tests.hub import Repository, running_hub
from tests.launched import GUIDE, ROOT, Launched, launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DEMO = ROOT / "demo_model" / "weights"
ASK: Any = [{"role": "user", "content": "What is ChatLLM?"}]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Generator[Launched]:
    folder = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as environment, running_hub() as hub:
        hub.repositories["owner/guide"] = Repository({file.name: file.read_bytes() for file in DEMO.iterdir()})
        environment.setenv("HF_HUB_CACHE", str(folder / "hub"))
        environment.setenv("HF_ENDPOINT", hub.url)
        environment.delenv("HF_HUB_OFFLINE", raising=False)
        with launched(service(folder)) as running:
            assert {one.path.split("/")[1] for one in hub.asked if one.method == "HEAD"} == {"owner"}
            hub.asked.clear()
            yield running
            assert hub.asked == [], "a service whose models are on the disk asks nobody for them"


def service(folder: Path) -> dict[str, Any]:
    """Return the demo model's service file with the model by its id on the hub, pulled, and two adapters."""
    from deployments.hub.progress import PlainTransfer
    from deployments.hub.pull import Pull

    with Path(os.devnull).open("w") as nowhere:
        pull = Pull(os.environ["HF_ENDPOINT"], folder / "hub", "owner/guide")
        pull.run(PlainTransfer("owner/guide", nowhere))
    document = yaml.safe_load(GUIDE.read_text())
    model = document["applications"][1]["args"]
    model["engine"]["model"] = "owner/guide"
    model["lora_modules"] = [
        {"name": name, "path": str(write_adapter(folder / name, DEMO, seed=seed, strength=0.1))}
        for seed, name in enumerate(("one", "two"))
    ]
    return document


def answer(api: openai.OpenAI, model: str) -> tuple[str, str, str]:
    """Return a greedy answer, the model that it says it is of, and whether the cache had it."""
    raw = api.chat.completions.with_raw_response.create(model=model, messages=ASK, temperature=0, max_tokens=24)
    found = raw.parse()
    return found.choices[0].message.content or "", found.model, raw.headers["x-cache"]


def test_each_adapter_is_a_model_with_answers_of_its_own(adapted: Launched) -> None:
    api = openai.OpenAI(base_url=f"{adapted.url}/v1", api_key=adapted.key, max_retries=0)
    names = ["guide", "guide:one", "guide:two"]
    assert [model.id for model in api.models.list()] == names
    said = {name: answer(api, name) for name in names}
    assert [(model, cache) for _, model, cache in said.values()] == [(name, "MISS") for name in names]
    assert len({text for text, *_ in said.values()}) == 3 and "ChatLLM" in said["guide"][0]
    assert [answer(api, name) for name in names] == [(said[name][0], name, "HIT") for name in names]
    chunks = api.chat.completions.create(model="guide:one", messages=ASK, seed=7, max_tokens=8, stream=True)
    assert {chunk.model for chunk in chunks} == {"guide:one"}
    with pytest.raises(openai.NotFoundError, match="guide:three"):
        answer(api, "guide:three")


def test_an_adapter_takes_completions_and_counts_tokens_too(adapted: Launched) -> None:
    headers = {"authorization": f"Bearer {adapted.key}"}
    with httpx.Client(base_url=adapted.url, headers=headers, timeout=60) as http:
        body = {"model": "guide:two", "prompt": "ChatLLM", "max_tokens": 4}
        assert http.post("/v1/completions", json=body).json()["model"] == "guide:two"
        counted = [
            http.post("/tokenize", json={"model": name, "prompt": "ChatLLM"}).json()["count"]
            for name in ("guide", "guide:two")
        ]
        assert counted[0] == counted[1] > 0
        deadline = time.monotonic() + 20
        while "guide:two" not in [row["model"] for row in http.get("/v1/usage?group_by=model").json()["data"]]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
