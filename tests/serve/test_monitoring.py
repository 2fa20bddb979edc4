"""A real Prometheus on the running service: every panel and rule of configs/ has something to show."""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from docs.generate import metrics as documented
from tests.launched import COMMAND, Launched, free_ports, launched, service_file
from tests.prometheus import CONFIG, ask, configured, metrics_in, panels, program, prometheus, recorded, rules

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATH = "/v1/chat/completions"
MODELS = [
    {"id": "quick", "kind": "scripted", "tokens": 16},
    {"id": "narrow", "kind": "scripted", "tokens": 10, "token_ms": 20, "slots": 1, "queue": {"max_waiting": 3}},
    {"id": "loading", "kind": "scripted", "load_s": 3600},
    {"id": "broken", "kind": "scripted", "fails_to_load": True},
]
WAITS_S = 100
ONLY_WITH_VLLM = re.compile("ray_vllm_|ray_chatllm_grammar")
NEED_NOT_HAPPEN = re.compile(r"ray_chatllm_(cache_drops|failovers|queue_refusals)|ray_chatllm_scaling|> 0$")
"""An answer that cannot be stored, a replica that is lost, a full queue, and a change of a target, by any policy."""


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The service; `quick` scales between one and two replicas."""
    file = service_file(MODELS, {})
    for deployment in file["applications"][0]["deployments"]:
        if deployment["name"] == "model-quick":
            del deployment["num_replicas"]
            deployment["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 2}
    with launched(file) as running:
        yield running


def asked(text: str, model: str = "quick", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def make_something_happen(service: Launched, limited: str) -> None:
    """Send what the panels tell apart: streams, hits, failures, refusals, a batch, and one that waits for a replica.

    `limited` is a key that may ask once a minute.
    """
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}, timeout=30) as api:
        conversation = api.post("/v1/conversations", json={}).json()["id"]
        assert api.post(PATH, json=asked("hello", conversation=conversation, stream=True)).status_code == 200
        for _ in range(3):
            assert api.post(PATH, json=asked("hello", temperature=0)).status_code == 200
            time.sleep(0.3)  # an answer is stored behind the reply
        assert api.post(PATH, json=asked("hello", "broken")).status_code == 503
        assert api.post(PATH, json=asked("hello", "loading"), headers={"x-chatllm-wait": "1.5"}).status_code == 503
        statuses = {
            api.post(PATH, json=asked("hello"), headers={"authorization": f"Bearer {limited}"}).status_code
            for _ in range(3)
        }
        assert 429 in statuses
        line = {"custom_id": "one", "method": "POST", "url": PATH, "body": asked("in a batch")}
        content = ("batch.jsonl", json.dumps(line).encode())
        file = api.post("/v1/files", data={"purpose": "batch"}, files={"file": content}).json()["id"]
        batch = {"input_file_id": file, "endpoint": PATH, "completion_window": "24h"}
        assert api.post("/v1/batches", json=batch).status_code == 200


def silent(http: httpx.Client) -> list[str]:
    """Return the expressions that should tell something and do not yet."""
    wanted = [*panels(), *(rule["expr"] for rule in rules() if "record" in rule)]
    told = [one for one in wanted if not ONLY_WITH_VLLM.search(one) and not NEED_NOT_HAPPEN.search(one)]
    return [expression for expression in told if not ask(http, "/query", query=expression)["result"]]


def test_every_panel_and_rule_has_data_in_the_running_service(service: Launched, tmp_path: Path) -> None:
    config = configured(service, tmp_path)
    for arguments in ([str(config)], ["--syntax-only", str(CONFIG)]):
        subprocess.run([program("promtool"), "check", "config", *arguments], check=True, timeout=60)
    limited = service.chatllm("keys", "create", "limited", "--rpm", "1").strip()
    with prometheus(config) as http:
        deadline, left = time.monotonic() + WAITS_S, ["nothing has been asked yet"]
        while not targets_of(http):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        while left:
            assert time.monotonic() < deadline, left
            make_something_happen(service, limited)
            left = silent(http)
        targets = targets_of(http)
        assert targets and {target["health"] for target in targets} == {"up"}, targets
        groups = ask(http, "/rules")["groups"]
        loaded = [rule for group in groups for rule in group["rules"]]
        assert len(loaded) == len(rules())
        assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}, loaded
        exported = set(ask(http, "/label/__name__/values"))
    made = {f"ray_{metric.name}{end}" for metric in documented.found() for end in ("", "_bucket", "_count")}
    for expression in [*panels(), *(rule["expr"] for rule in rules())]:
        unknown = {name for name in metrics_in(expression) - exported - recorded() - made if "ray_vllm_" not in name}
        assert not unknown, expression


@contextlib.contextmanager
def flood(service: Launched, users: int) -> Iterator[None]:
    """Ask `narrow` for one answer after the other, `users` at a time, until the block is left."""
    stop = threading.Event()

    def user(number: int) -> None:
        with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}, timeout=60) as api:
            count = 0
            while not stop.is_set():
                count += 1
                if api.post(PATH, json=asked(f"{number} {count}", "narrow")).status_code != 200:
                    stop.wait(0.2)

    with ThreadPoolExecutor(users) as pool:
        running = [pool.submit(user, number) for number in range(users)]
        try:
            yield
        finally:
            stop.set()
    for each in running:
        each.result()


def becomes_true(http: httpx.Client, expression: str) -> None:
    deadline = time.monotonic() + WAITS_S
    while not targets_of(http) or not ask(http, "/query", query=expression)["result"]:
        assert time.monotonic() < deadline, expression
        time.sleep(0.5)


def test_a_flood_shows_in_the_queue_s_figures_and_its_end_does(service: Launched, tmp_path: Path) -> None:
    with prometheus(configured(service, tmp_path)) as http:
        with flood(service, 6):
            becomes_true(http, 'sum(ray_chatllm_queue_requests{model="narrow",priority="interactive"}) >= 2')
            becomes_true(http, 'max(ray_chatllm_queue_oldest_seconds{model="narrow"}) > 0.1')
            becomes_true(http, 'sum(ray_chatllm_queue_tokens{model="narrow"}) > 2')
            becomes_true(http, 'sum(ray_chatllm_queue_refusals_total{model="narrow",reason="full"}) > 0')
            becomes_true(http, "chatllm:waiting_requests >= 2")
        becomes_true(http, 'sum(ray_chatllm_queue_requests{model="narrow"}) == 0')


def test_the_dashboards_take_vllm_s_metrics_by_their_names() -> None:
    vllm = find_spec("vllm")  # importing it takes half a minute
    assert vllm is not None and vllm.origin is not None
    source = (Path(vllm.origin).parent / "v1/metrics/loggers.py").read_text()
    taken = {name for one in [*panels(), *(rule["expr"] for rule in rules())] for name in metrics_in(one)}
    ours = {name.removeprefix("ray_vllm_") for name in taken if name.startswith("ray_vllm_")}
    assert ours and {name for name in ours if f'"vllm:{name}"' not in source} == set()


def test_monitor_runs_prometheus_for_the_service_on_this_machine_alone(service: Launched) -> None:
    program("prometheus")
    (port,) = free_ports(1)
    command = [*COMMAND, "monitor", "--port", str(port)]
    with subprocess.Popen(command, env=service.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as http:
                deadline = time.monotonic() + 60
                while not (known := targets_of(http)):
                    assert time.monotonic() < deadline and process.poll() is None
                    time.sleep(0.2)
                assert {target["labels"]["job"] for target in known} == {"ray"}
                assert len(ask(http, "/rules")["groups"]) == 5
            listening = psutil.Process(process.pid).net_connections()
            assert {found.laddr.ip for found in listening if found.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        finally:
            process.terminate()


def targets_of(http: httpx.Client) -> list[dict[str, Any]]:
    """Return what Prometheus scrapes; nothing while it is being started."""
    try:
        return ask(http, "/targets")["activeTargets"]
    except (httpx.ConnectError, json.JSONDecodeError):
        return []
