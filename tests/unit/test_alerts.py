"""Each alert of configs/prometheus_rules.yml fires when it should, and not when it should not, as promtool plays it."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.prometheus import program

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "configs/prometheus_rules.yml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]
GOOD, BAD = 'ray_chatllm_requests_total{status="200"}', 'ray_chatllm_requests_total{status="503"}'
FAST = 'ray_chatllm_ttft_seconds_bucket{model="m",le="2.5"}'
ALL = 'ray_chatllm_ttft_seconds_count{model="m"}'
TARGET = 'ray_serve_autoscaling_target_replicas{application="model-m",deployment="model-m"}'
HEALTHY = 'ray_serve_deployment_replica_healthy{application="model-m",deployment="model-m",replica="a"}'
ENTRY = 'ray_serve_autoscaling_target_replicas{application="model-m",deployment="Entry"}'
STATUS = 'ray_serve_deployment_status{application="model-m",deployment="model-m"}'
HELD, QUEUED = 'ray_chatllm_held_requests{model="m"}', 'ray_serve_deployment_queued_queries{deployment="model-m"}'
IN_QUEUE = 'ray_chatllm_queue_requests{model="m",priority="interactive"}'
IN_BATCH = IN_QUEUE.replace("interactive", "batch")
WAITING = "ray_vllm_num_requests_waiting"
POSTGRES = 'ray_chatllm_store_up{store="postgres"}'
REDIS = 'ray_chatllm_store_up{store="redis"}'
REASONS = "ray_chatllm_cache_reasons_total"
PENDING = "ray_chatllm_history_pending"
FREE, USED = 'ray_node_disk_free{ip="10.0.0.1"}', 'ray_node_disk_usage{ip="10.0.0.1"}'
UP, UP_TOO = 'up{job="ray",instance="10.0.0.1:1"}', 'up{job="ray",instance="10.0.0.2:1"}'
USED_TOO = 'ray_resources{job="ray",instance="10.0.0.2:1",Name="CPU",State="USED"}'


@dataclass(frozen=True)
class Case:
    """Series, with a value for each minute in promtool's notation, and whether the alert fires after `minutes`."""

    alert: str
    why: str
    series: dict[str, str]
    minutes: int
    fires: bool


CASES = [
    Case("ErrorBudgetBurnsFast", "2 % fail for an hour", {GOOD: "0+980x70", BAD: "0+20x70"}, 65, True),
    Case("ErrorBudgetBurnsFast", "1 % fails", {GOOD: "0+990x70", BAD: "0+10x70"}, 65, False),
    Case("ErrorBudgetBurnsFast", "it is over", {GOOD: "0+900x70", BAD: "0+100x50 5000x20"}, 65, False),
    Case("ErrorBudgetBurnsFast", "only clients err", {GOOD: "0+1x70", BAD.replace("503", "404"): "0+99x70"}, 65, False),
    Case("ErrorBudgetBurnsFast", "nobody asks", {GOOD: "5x70", BAD: "5x70"}, 65, False),
    Case("ErrorBudgetBurnsSlowly", "0.8 % fail for hours", {GOOD: "0+992x400", BAD: "0+8x400"}, 390, True),
    Case("ErrorBudgetBurnsSlowly", "0.4 % fail", {GOOD: "0+996x400", BAD: "0+4x400"}, 390, False),
    Case("FirstTokenSlow", "8 % are slow", {FAST: "0+92x80", ALL: "0+100x80"}, 75, True),
    Case("FirstTokenSlow", "4 % are slow", {FAST: "0+96x80", ALL: "0+100x80"}, 75, False),
    Case("FirstTokenSlow", "they were slow before", {FAST: "0+50x60 3000+100x20", ALL: "0+100x80"}, 78, False),
    Case("ReplicasFlap", "up and down every 4 minutes", {TARGET: "1x3 2x3 1x3 2x3 1x3 2x3 1x3 2x3"}, 31, True),
    Case("ReplicasFlap", "up step by step, and down", {TARGET: "1x5 2x5 3x5 4x5 2x15"}, 31, False),
    Case("ReplicasMissing", "one of two never starts", {TARGET: "2x40", HEALTHY: "1x40"}, 20, True),
    Case("ReplicasMissing", "none starts", {TARGET: "1x40"}, 20, True),
    Case("ReplicasMissing", "it starts in time", {TARGET: "1x40", HEALTHY: "0x10 1x30"}, 20, False),
    Case("ReplicasMissing", "the entry has none", {ENTRY: "1x40", TARGET: "0x40"}, 20, False),
    Case("DeploymentUnhealthy", "deploying failed", {STATUS: "6x2 1x20"}, 10, True),
    Case("DeploymentUnhealthy", "it is updating", {STATUS: "3x20"}, 10, False),
    Case("QueueGrows", "one more is held each minute", {HELD: "0+2x30"}, 25, True),
    Case("QueueGrows", "in front of full engines", {IN_QUEUE: "0+2x30", WAITING: "0x30"}, 25, True),
    Case("QueueGrows", "in both its classes", {IN_QUEUE: "0+1x30", IN_BATCH: "0+1x30"}, 25, True),
    Case("QueueGrows", "it drains in front of full engines", {IN_QUEUE: "200-5x30", WAITING: "0x30"}, 25, False),
    Case("QueueGrows", "in three places", {HELD: "5x30", QUEUED: "0+1x30", WAITING: "0+1x30"}, 25, True),
    Case("QueueGrows", "it is full", {HELD: "0+100x5 500x40"}, 40, True),
    Case("QueueGrows", "it is long, and steady", {HELD: "0+12x5 60x40"}, 40, False),
    Case("QueueGrows", "it is short", {WAITING: "0+0.5x30"}, 25, False),
    Case("QueueGrows", "it becomes shorter", {WAITING: "150-3x30"}, 25, False),
    Case("PostgresAway", "one replica does not reach it", {POSTGRES: "1 1 0x10", POSTGRES + " ": "1x10"}, 5, True),
    Case("PostgresAway", "Redis is away", {POSTGRES: "1x10", REDIS: "0x10"}, 5, False),
    Case("RedisAway", "it is away", {REDIS: "1 1 0x10", POSTGRES: "1x10"}, 5, True),
    Case("RedisAway", "Postgres is away", {REDIS: "1x10", POSTGRES: "0x10"}, 5, False),
    Case("CacheBreakerOpen", "it stays open", {REASONS + '{reason="redis_breaker_open"}': "0+60x20"}, 15, True),
    Case("CacheBreakerOpen", "requests bypass", {REASONS + '{reason="no_cache"}': "0+60x20"}, 15, False),
    Case("HistoryBacklog", "it grows", {PENDING: "0+300x20"}, 15, True),
    Case("HistoryBacklog", "it was a moment", {PENDING: "5000x2 0x20"}, 15, False),
    Case("DiskFillsUp", "5 % are free", {FREE: "5x20", USED: "95x20"}, 15, True),
    Case("DiskFillsUp", "20 %, and full by tonight", {FREE: "200-0.2x400", USED: "800+0.2x400"}, 380, True),
    Case("DiskFillsUp", "half, and growing", {FREE: "500-0.5x400", USED: "500+0.5x400"}, 380, False),
    Case("DiskFillsUp", "20 %, and steady", {FREE: "20x400", USED: "80x400"}, 380, False),
    Case("NodeSilent", "a node does not answer", {UP: "1 1 0x10"}, 8, True),
    Case("NodeSilent", "there is no node", {}, 8, True),
    Case(
        "NodeSilent",
        "one of two died with replicas",
        {UP: "1x30", UP_TOO: "1x10 stale", USED_TOO: "2x10 stale"},
        15,
        True,
    ),
    Case(
        "NodeSilent", "it was drained before", {UP: "1x30", UP_TOO: "1x10 stale", USED_TOO: "2x8 0x2 stale"}, 15, False
    ),
    Case("NodeSilent", "it moved its replicas", {UP: "1x30", UP_TOO: "1x30", USED_TOO: "2x8 0x22"}, 15, False),
    Case("NodeSilent", "one more came", {UP: "1x30", UP_TOO: "_x10 1x20"}, 15, False),
    Case(
        "NodeSilent",
        "one was taken out some time ago",
        {UP: "1x40", UP_TOO: "1x10 stale", USED_TOO: "2x10 stale"},
        25,
        False,
    ),
    Case("NodeSilent", "all answer", {UP: "1x10"}, 8, False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.why}")
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    series = [
        {"series": f'{name.strip()[:-1]},replica="b"}}' if name.endswith(" ") else name, "values": values}
        for name, values in case.series.items()
    ]
    firing = {
        "expr": f'count by (alertname) (ALERTS{{alertname="{case.alert}",alertstate="firing"}})',
        "eval_time": f"{case.minutes}m",
        "exp_samples": [{"labels": f'{{alertname="{case.alert}"}}', "value": 1}] if case.fires else [],
    }
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [firing]}
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(document))
    played = subprocess.run(
        [program("promtool"), "test", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert played.returncode == 0, played.stdout + played.stderr


def test_each_alert_is_tried_both_ways_and_explained() -> None:
    names = {alert["alert"] for alert in ALERTS}
    for fires in (True, False):
        assert {case.alert for case in CASES if case.fires == fires} == names
    page = (REPOSITORY / "docs/how-to/monitoring.md").read_text()
    assert {name for name in names if f"| `{name}` |" not in page} == set()
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} == alert["annotations"].keys(), alert["alert"]


def test_the_goal_is_a_bucket_of_the_histogram() -> None:
    from deployments.metrics.telemetry import LATENCY_S

    goals = set(re.findall(r'le="([^"]+)"', RULES.read_text()))
    assert goals and goals <= {str(bound) for bound in LATENCY_S}
