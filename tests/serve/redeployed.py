"""Deploying another service file on a running service, as `serve deploy` does, and a load that must not notice."""

import asyncio
import contextlib
import copy
import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.launched import Launched

CHAT = "/v1/chat/completions"
Document = dict[str, Any]
HELLO = {"messages": [{"role": "user", "content": "hello world"}]}


def model(identifier: str, **arguments: object) -> Document:
    deployment = {"name": f"model-{identifier}", "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}
    return {
        "name": f"model-{identifier}",
        "import_path": "deployments.app:build_model",
        "route_prefix": None,
        "args": {"id": identifier, "kind": "scripted", **arguments},
        "deployments": [deployment],
    }


def service_file() -> Document:
    names = ("Ingress", "CacheLookup")
    options = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}
    chatllm = {
        "name": "chatllm",
        "import_path": "deployments.app:build_app",
        "route_prefix": "/",
        "args": {"key_limits": {"timeout_s": 2}, "cache": {"lookup_timeout_s": 1}},
        "deployments": [{"name": name, **options} for name in names],
    }
    models = [model("one", tokens=16, token_ms=5), model("two", tokens=16, token_ms=5)]
    return {"http_options": {"host": "127.0.0.1"}, "applications": [chatllm, *models]}


async def ask(http: httpx.AsyncClient, name: str, **more: object) -> httpx.Response:
    return await http.post(CHAT, json={"model": name, **HELLO, **more})


def deployed_document(service: Launched) -> Document:
    """Return a copy of the file that the launcher has deployed."""
    return yaml.safe_load((Path(service.environment["CHATLLM_STATE"]) / "serve_config.yaml").read_text())


def changed(document: Document) -> Document:
    return copy.deepcopy(document)


def application(document: Document, name: str) -> Document:
    return next(one for one in document["applications"] if one["name"] == name)


def ingress(document: Document) -> Document:
    """Return the entry of the ingress's deployment."""
    deployments = application(document, "chatllm")["deployments"]
    return next(one for one in deployments if one["name"] == "Ingress")


async def deploy(service: Launched, document: Document) -> None:
    """Put a service file into force; raises for one that Serve refuses."""
    token = (Path(service.environment["CHATLLM_STATE"]) / "ray.token").read_text().strip()
    url = f"http://127.0.0.1:{service.environment['CHATLLM_DASHBOARD_PORT']}/api/serve/applications/"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http:
        async with asyncio.timeout(120):
            while True:  # the dashboard is the last that starts
                with contextlib.suppress(httpx.TransportError):
                    answer = await http.put(url, json=document)
                    if answer.status_code != 503:
                        break
                await asyncio.sleep(0.5)
    assert answer.status_code == 200, answer.text


async def until(condition: Any, within_s: float = 120) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.1)


def processes(service: Launched) -> dict[str, set[int]]:
    """Return the process ids of all replicas of this service, by application and deployment."""
    state, found = service.environment["CHATLLM_STATE"], dict[str, set[int]]()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if title.startswith("ray::ServeReplica:") and process.environ().get("CHATLLM_STATE") == state:
                place = ":".join(title.removeprefix("ray::ServeReplica:").split(":")[:2]).split(".")[0].split()[0]
                found.setdefault(place, set()).add(process.pid)
    return found


class Load:
    """Streams and plain requests that come without a pause; what is not a whole answer is counted as a failure."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: list[str] = []

    async def one(self, http: httpx.AsyncClient, model: str, number: int) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": f"number {number}"}]}
        is_stream = number % 2 == 0
        try:
            if is_stream:
                async with http.stream("POST", CHAT, json={**body, "stream": True}) as response:
                    text = (await response.aread()).decode()
                is_whole = response.status_code == 200 and text.rstrip().endswith("data: [DONE]")
                is_whole = is_whole and '"error"' not in text
            else:
                response = await http.post(CHAT, json=body)
                text = response.text
                is_whole = response.status_code == 200 and bool(json.loads(text)["choices"])
        except (httpx.HTTPError, ValueError, LookupError) as error:
            self.failed.append(f"{model}: {error!r}")
            return
        if is_whole:
            self.answered[model] += 1
        else:
            self.failed.append(f"{model}: {response.status_code} {text[-300:]}")


@asynccontextmanager
async def load(service: Launched, *models: str, users: int = 3) -> AsyncGenerator[Load]:
    """Keep a load on these models while the block runs."""
    going, numbers, told = True, itertools.count(), Load()

    async def user(http: httpx.AsyncClient, model: str) -> None:
        while going:
            await told.one(http, model, next(numbers))
            await asyncio.sleep(0.05)

    async with service.client() as http:
        tasks = [asyncio.create_task(user(http, model)) for model in models for _ in range(users)]
        try:
            yield told
        finally:
            going = False
            await asyncio.gather(*tasks)
