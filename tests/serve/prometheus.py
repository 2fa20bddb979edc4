"""The real Prometheus in front of a running service, with the file and the dashboard of configs/."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.launched import Launched, free_ports

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG, DASHBOARD = CONFIGS / "prometheus.yml", CONFIGS / "grafana_dashboard.json"
VARIABLES = {"$__rate_interval": "1m", "$model": ".*"}
MAY_BE_EMPTY = re.compile(r"ray_vllm_|cache_drops|\"HIT\"|5\.\.|429")  # nothing of the kind has happened


def program(name: str) -> str:
    """Return its path; where it is missing the test is skipped, or fails if CI requires it."""
    found = shutil.which(name)
    if not found:
        if os.environ.get("CHATLLM_REQUIRE_PROMETHEUS") == "1":
            pytest.fail(f"There is no {name}: apt-get install prometheus")
        pytest.skip(f"needs {name}")
    return found


def configured(service: Launched, folder: Path) -> Path:
    """Return the file as it is, but for the service's port and token, and without a wait between scrapes."""
    document = yaml.safe_load(CONFIG.read_text())
    document["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (discovery,) = document["scrape_configs"][0]["http_sd_configs"]
    discovery["url"] = discovery["url"].replace("8265", service.environment["CHATLLM_DASHBOARD_PORT"])
    discovery["refresh_interval"] = "1s"
    token = Path(service.environment["CHATLLM_STATE"]) / "ray.token"
    assert (CONFIG.parent / discovery["authorization"]["credentials_file"]).name == token.name
    discovery["authorization"]["credentials_file"] = str(token)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.contextmanager
def prometheus(config: Path) -> Iterator[httpx.Client]:
    """Run Prometheus with that file, on a port of its own; yields a client of its API."""
    (port,) = free_ports(1)
    command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'data'}"]
    with (config.parent / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as http:
            yield http
    finally:
        process.terminate()
        process.wait(30)


def ask(http: httpx.Client, path: str, **query: str) -> dict[str, Any]:
    """Ask its API, which must understand the question."""
    answer = http.get(path, params=query)
    assert answer.json()["status"] == "success", (query, answer.text)
    return answer.json()["data"]


def expressions() -> list[str]:
    """Return what the dashboard's panels ask."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def telling(http: httpx.Client) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the targets that are known, and the expressions that should tell something and do not yet."""
    try:
        targets = ask(http, "/targets")["activeTargets"]
    except httpx.ConnectError:  # it is just being started
        return [], expressions()
    asked = (expression for expression in expressions() if not MAY_BE_EMPTY.search(expression))
    return targets, [expression for expression in asked if not ask(http, "/query", query=expression)["result"]]
