"""The real Prometheus in front of a running service, with the files of configs/ as `chatllm monitor` sets them up."""

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

from deployments.local.cli import monitor
from deployments.local.instance import Instance
from tests.launched import Launched, free_ports

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG, RULES = CONFIGS / "prometheus.yml", CONFIGS / "prometheus_rules.yml"
DASHBOARDS = sorted((CONFIGS / "grafana").glob("*.json"))
VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$deployment": ".*"}


def program(name: str) -> str:
    """Return its path; where it is missing the test is skipped, or fails if CI requires it."""
    found = shutil.which(name)
    if not found:
        if os.environ.get("CHATLLM_REQUIRE_PROMETHEUS") == "1":
            pytest.fail(f"There is no {name}: apt-get install prometheus")
        pytest.skip(f"needs {name}")
    return found


def configured(service: Launched, folder: Path) -> Path:
    """Return the file that `chatllm monitor` writes, without a wait between scrapes."""
    state = Path(service.environment["CHATLLM_STATE"])
    instance = Instance.read(state)
    assert instance is not None
    document = monitor.configured(instance, state)
    document["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    document["scrape_configs"][0]["http_sd_configs"][0]["refresh_interval"] = "1s"
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.contextmanager
def prometheus(config: Path) -> Iterator[httpx.Client]:
    """Run Prometheus with that file, on a port of its own; yields a client of its API."""
    (port,) = free_ports(1)
    command = monitor.command_of(program("prometheus"), config, config.parent / "data", port)
    with (config.parent / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as http:
            yield http
    finally:
        process.terminate()
        process.wait(30)


def ask(http: httpx.Client, path: str, **query: str) -> Any:
    """Ask its API, which must understand the question."""
    answer = http.get(path, params=query)
    assert answer.json()["status"] == "success", (query, answer.text)
    return answer.json()["data"]


def panels() -> list[str]:
    """Return what the dashboards ask: panels, annotations, and the values of variables."""
    found: list[str] = []
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        found += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        found += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def rules() -> list[dict[str, Any]]:
    """Return all recording and alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """Return the names of metrics in an expression."""
    return set(re.findall(r"(?:ray_|chatllm:)[a-zA-Z0-9_:]+", expression))


def recorded() -> set[str]:
    """Return the names of what rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}
