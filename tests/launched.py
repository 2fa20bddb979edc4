"""A whole service for tests, started by the launcher with ports, a state folder and a Ray cluster of its own."""

import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from deployments.local.processes import ports

COMMAND = [sys.executable, "-m", "deployments.local.cli"]
FOREIGN = ("CHATLLM_", "RAY_", "NICEGUI_", "PYTEST_")
START_TIMEOUT_S = 480
ROOT = Path(__file__).parents[1]
ARTIFACTS = ROOT / "artifacts"
DEFAULT = ROOT / "serve_config.yaml"
GUIDE = ROOT / "configs/guide.yaml"
"""The demo model, which is up in seconds: what a test takes unless it is about another model."""


# Neither what the kernel hands out to every connection nor what the launcher takes for Ray's inner ports.
PORTS = range(12_000, 20_000)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, each another, and that nobody else takes by chance before they are used."""
    free = (port for port in random.sample(PORTS, len(PORTS)) if ports.is_free(port))
    return list(itertools.islice(free, count))


def service_file(models: list[dict[str, Any]], replicas: dict[str, int], **settings: Any) -> dict[str, Any]:
    """Return a service file with these models; `replicas` counts deployments that have more than one."""
    names = ["Ingress", "CacheLookup", *(f"model-{model['id']}" for model in models)]
    deployments = [
        {"name": name, "num_replicas": replicas.get(name, 1), "ray_actor_options": {"num_cpus": 0.1}} for name in names
    ]
    application = {
        "name": "chatllm",
        "import_path": "deployments.app:build_app",
        "route_prefix": "/",
        "args": {"models": models, **settings},
        "deployments": deployments,
    }
    return {"proxy_location": "EveryNode", "http_options": {"host": "127.0.0.1"}, "applications": [application]}


@dataclass(frozen=True)
class Launched:
    """A running service."""

    folder: Path
    environment: dict[str, str]
    url: str
    page: str
    key: str

    def chatllm(self, *arguments: str, timeout_s: float = 120, check: bool = True) -> str:
        """Run the command line against this service and return what it printed."""
        result = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(f"chatllm {arguments} ended with {result.returncode}: {result.stderr}{result.stdout}")
        return result.stdout

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return an HTTP client with the first key."""
        return httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60, **options
        )

    def page_link(self) -> str:
        """Return an address that opens the page in one browser."""
        return self.chatllm("link").strip()

    def status(self) -> dict[str, Any]:
        return json.loads(self.chatllm("status", "--json"))


@contextmanager
def launched(config: dict[str, Any] | Path, page: bool = False) -> Generator[Launched]:
    """Start a service with a service file or its content, wait until its model answers, stop it."""
    folder = Path(tempfile.mkdtemp(prefix="chatllm-test-"))
    port, page_port, dashboard_port = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environment |= {
        "CHATLLM_STATE": str(folder / "state"),
        "CHATLLM_PORT": str(port),
        "CHATLLM_PAGE_PORT": str(page_port),
        "CHATLLM_DASHBOARD_PORT": str(dashboard_port),
    }
    file = config if isinstance(config, Path) else folder / "service.yaml"
    if not isinstance(config, Path):
        file.write_text(yaml.safe_dump(config))
    up = ["up", "--detach", "--wait", "--config", str(file)]
    if not page:
        up.append("--no-page")
    urls = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{page_port}"
    service = Launched(folder, environment, *urls, "")
    try:
        try:
            service.chatllm(*up, timeout_s=START_TIMEOUT_S)
        except BaseException:
            shutil.copytree(folder / "state" / "logs", ARTIFACTS / folder.name, dirs_exist_ok=True)
            raise
        yield Launched(
            folder, environment, *urls, service.chatllm("keys", "create", "test", "--concurrent", "0").strip()
        )
    finally:
        service.chatllm("down", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def replica_pids(service: Launched, deployment: str) -> list[int]:
    """Return the process ids of a deployment's replicas in this service's own cluster."""
    state = service.environment["CHATLLM_STATE"]
    found: list[int] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if re.search(rf"ServeReplica:[\w.-]+:{deployment}\b", " ".join(process.cmdline())):
                found += [process.pid] * (process.environ().get("CHATLLM_STATE") == state)
    return found
