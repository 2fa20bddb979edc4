"""Writes the dashboards of this folder: `python configs/grafana/make.py`, from the repository's folder.

They are made by a program, since a panel is thirty lines of JSON of which three matter. Import the JSON files into
Grafana, or let it read them (provisioning/). A test fails when a file is not what this program makes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 24, 8
RATE = "[$__rate_interval]"
OF_MODEL = '{model=~"$model"}'
OF_DEPLOYMENT = '{deployment=~"$deployment"}'
OF_SCALED = '{model=~"$deployment"}'
"""The autoscaler calls what it scales `model`, and names it by its deployment."""


@dataclass(frozen=True)
class Panel:
    """A chart. `queries` are pairs of a PromQL expression and its legend."""

    title: str
    description: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    is_stacked: bool = False
    width: int = 8


Row = tuple[str, Sequence[Panel]]


def quantiles(metric: str) -> list[tuple[str, str]]:
    """Return the median and the two quantiles that users notice."""
    rate = f"sum by (le) (rate({metric}_bucket{OF_MODEL}{RATE}))"
    return [(f"histogram_quantile({q}, {rate})", f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)]


def share(part: str, whole: str, metric: str) -> str:
    """Return what share the series with the labels `part` have of those with `whole`."""
    return " / ".join(f'sum(rate({metric}{{model=~"$model"{labels}}}{RATE}))' for labels in (part, whole))


EXPERIENCE: Sequence[Row] = [
    (
        "Requests",
        [
            Panel(
                "Requests per second",
                "By HTTP status; 499 is a client that left.",
                [(f"sum by (status) (rate(ray_chatllm_requests_total{OF_MODEL}{RATE}))", "{{status}}")],
                "reqps",
                is_stacked=True,
            ),
            Panel(
                "Failed requests",
                "Share of requests that ended with a 5xx status, or were refused by a limit (429).",
                [
                    (share(',status=~"5.."', "", "ray_chatllm_requests_total"), "5xx"),
                    (share(',status="429"', "", "ray_chatllm_requests_total"), "429"),
                ],
                "percentunit",
            ),
            Panel(
                "Error budget",
                "How many times faster than allowed (0.1 % of requests) the budget is used up; 1 is just right.",
                [
                    ("chatllm:errors:ratio_rate5m / 0.001", "5 minutes"),
                    ("chatllm:errors:ratio_rate1h / 0.001", "1 hour"),
                    ("chatllm:errors:ratio_rate6h / 0.001", "6 hours"),
                ],
            ),
        ],
    ),
    (
        "Latency",
        [
            Panel(
                "Time to first token",
                "Answers from the cache included.",
                quantiles("ray_chatllm_ttft_seconds"),
                "s",
            ),
            Panel(
                "Slow first tokens",
                "Share of requests whose first token took longer than 2.5 s; the goal is 5 % at most.",
                [(f"chatllm:slow_first_tokens:ratio_rate5m{OF_MODEL}", "{{model}}")],
                "percentunit",
            ),
            Panel("Duration of a request", "To the last byte.", quantiles("ray_chatllm_request_seconds"), "s"),
            Panel(
                "Time to first token by cache",
                "The median of hits and of generated answers.",
                [
                    (
                        "histogram_quantile(0.5, sum by (le, cache) "
                        f"(rate(ray_chatllm_ttft_seconds_bucket{OF_MODEL}{RATE})))",
                        "{{cache}}",
                    )
                ],
                "s",
            ),
            Panel(
                "In flight",
                "Chat requests being answered now, over all ingress replicas.",
                [("sum(ray_chatllm_inflight_requests)", "in flight")],
            ),
            Panel(
                "Answers taken over",
                "By another model replica, where one was lost, by how that ended; none is drawn as none.",
                [(f"sum by (outcome) (increase(ray_chatllm_failovers_total{OF_MODEL}[5m]))", "{{outcome}}")],
            ),
            Panel(
                "Tokens per second",
                "Prompt tokens are those that were sent, whether they were computed or came from the prefix cache.",
                [(f"sum by (kind) (rate(ray_chatllm_tokens_total{OF_MODEL}{RATE}))", "{{kind}}")],
            ),
        ],
    ),
    (
        "Cache and grammars",
        [
            Panel(
                "Cache",
                "Look-ups by result.",
                [(f"sum by (result) (rate(ray_chatllm_cache_total{OF_MODEL}{RATE}))", "{{result}}")],
                "reqps",
                is_stacked=True,
            ),
            Panel(
                "Hit rate",
                "Hits among the requests that may be answered from the cache.",
                [(share(',result="HIT"', ',result=~"HIT|MISS"', "ray_chatllm_cache_total"), "hits")],
                "percentunit",
            ),
            Panel(
                "Grammars",
                "Grammars by outcome of their check, and the CPU cores that the checks take.",
                [
                    (f"sum by (outcome) (rate(ray_chatllm_grammars_total{OF_MODEL}{RATE}))", "{{outcome}}"),
                    (f"sum(rate(ray_chatllm_grammar_cpu_seconds_total{OF_MODEL}{RATE}))", "cores"),
                ],
            ),
        ],
    ),
]

AUTOSCALING: Sequence[Row] = [
    (
        "Replicas",
        [
            Panel(
                "Target, running, starting",
                "What the autoscaler wants, what answers, and what is missing.",
                [
                    (f"chatllm:replicas:target{OF_DEPLOYMENT}", "{{deployment}} target"),
                    (f"chatllm:replicas:running{OF_DEPLOYMENT}", "{{deployment}} running"),
                    (
                        f"clamp_min(chatllm:replicas:target{OF_DEPLOYMENT} - (chatllm:replicas:running{OF_DEPLOYMENT} "
                        f"or 0 * chatllm:replicas:target{OF_DEPLOYMENT}), 0)",
                        "{{deployment}} starting",
                    ),
                ],
                width=16,
            ),
            Panel(
                "How long starts take",
                "Mean seconds from a replica's creation until it answers, of those that started within an hour.",
                [
                    (
                        f"sum by (deployment) (increase(ray_serve_replica_startup_latency_ms_sum{OF_DEPLOYMENT}[1h])) "
                        "/ 1000 / sum by (deployment) "
                        f"(increase(ray_serve_replica_startup_latency_ms_count{OF_DEPLOYMENT}[1h]))",
                        "{{deployment}}",
                    )
                ],
                "s",
            ),
        ],
    ),
    (
        "Load",
        [
            Panel(
                "Waiting and running",
                "Held: their model has no replica. Queued: in front of the replicas. Waiting: in the engines.",
                [
                    ("sum(ray_chatllm_held_requests)", "held"),
                    ('sum(ray_serve_deployment_queued_queries{deployment=~"model-.*"})', "queued"),
                    ("sum(ray_vllm_num_requests_waiting)", "waiting"),
                    ("sum(ray_vllm_num_requests_running)", "running"),
                ],
                is_stacked=True,
            ),
            Panel(
                "Held requests",
                "By model, while it has no replica.",
                [(f"sum by (model) (ray_chatllm_held_requests{OF_MODEL})", "{{model}}")],
            ),
            Panel(
                "KV cache",
                "The fullest and the mean engine; vLLM preempts requests when it is full.",
                [
                    ("max(ray_vllm_kv_cache_usage_perc)", "fullest"),
                    ("avg(ray_vllm_kv_cache_usage_perc)", "mean"),
                ],
                "percentunit",
            ),
            Panel(
                "Requests per replica",
                "Requests that a replica works on, the mean over the replicas.",
                [(f"avg by (deployment) (ray_serve_replica_processing_queries{OF_DEPLOYMENT})", "{{deployment}}")],
            ),
            Panel(
                "What the autoscaler sees",
                "All requests of a deployment that scales, and how many replicas its policy asks for before bounds.",
                [
                    (f"max by (deployment) (ray_serve_autoscaling_total_requests{OF_DEPLOYMENT})", "{{deployment}}"),
                    (
                        f"max by (deployment) (ray_serve_autoscaling_desired_replicas{OF_DEPLOYMENT})",
                        "{{deployment}} desired",
                    ),
                ],
            ),
            Panel(
                "Decisions",
                "Changes of the number of replicas by the scaling policy, with their cause; and what the load fills.",
                [
                    (
                        f"sum by (direction, cause) (increase(ray_chatllm_scaling_decisions_total{OF_SCALED}[5m]))",
                        "{{direction}}: {{cause}}",
                    ),
                    (f"max by (model) (ray_chatllm_scaling_demand_replicas{OF_SCALED})", "{{model}} demand"),
                ],
            ),
            Panel(
                "Changes of the target",
                "Within 30 minutes; six or more are flapping.",
                [(f"changes(chatllm:replicas:target{OF_DEPLOYMENT}[30m])", "{{deployment}}")],
            ),
        ],
    ),
    (
        "Nodes",
        [
            Panel(
                "Resources",
                "What the deployments have reserved, of what there is.",
                [
                    (
                        'sum by (Name) (ray_resources{State="USED",Name=~"CPU|GPU"}) '
                        '/ sum by (Name) (ray_resources{Name=~"CPU|GPU"})',
                        "{{Name}}",
                    )
                ],
                "percentunit",
            ),
            Panel(
                "Processors",
                "By node, of all its cores.",
                [("ray_node_cpu_utilization / 100", "{{ip}}")],
                "percentunit",
            ),
            Panel("Memory", "By node.", [("ray_node_mem_used / ray_node_mem_total", "{{ip}}")], "percentunit"),
        ],
    ),
]

STORES: Sequence[Row] = [
    (
        "Postgres",
        [
            Panel(
                "Postgres answers",
                "Ingress replicas that reach it (1 is all of them).",
                [('avg(ray_chatllm_store_up{store="postgres"})', "reached")],
                "percentunit",
            ),
            Panel(
                "Round trip",
                "To Postgres and back, the slowest and the mean of the ingress replicas.",
                [("max(ray_chatllm_postgres_seconds)", "slowest"), ("avg(ray_chatllm_postgres_seconds)", "mean")],
                "s",
            ),
            Panel(
                "Conversations waiting for Postgres",
                "Writes in memory, over all ingress replicas; it grows while Postgres is away.",
                [("sum(ray_chatllm_history_pending)", "pending")],
            ),
        ],
    ),
    (
        "Batches",
        [
            Panel(
                "Requests of batches",
                "Being answered now, over all ingress replicas.",
                [("sum(ray_chatllm_batch_lines_running)", "running")],
            ),
            Panel(
                "Answered requests of batches",
                "Per second by outcome; retried later are those that met a limit or a full queue.",
                [(f"sum by (outcome) (rate(ray_chatllm_batch_lines_total{RATE}))", "{{outcome}}")],
                "reqps",
                is_stacked=True,
            ),
        ],
    ),
    (
        "Redis",
        [
            Panel(
                "Redis answers",
                "Ingress replicas that reach it (1 is all of them).",
                [('avg(ray_chatllm_store_up{store="redis"})', "reached")],
                "percentunit",
            ),
            Panel(
                "Why the cache did not answer",
                "Requests per second by reason; redis_… tells how Redis failed.",
                [(f"sum by (reason) (rate(ray_chatllm_cache_reasons_total{OF_MODEL}{RATE}))", "{{reason}}")],
                "reqps",
                is_stacked=True,
            ),
            Panel(
                "Answers that were not stored",
                "Answers per second by the reason; what is lost is a later hit.",
                [(f"sum by (reason) (rate(ray_chatllm_cache_drops_total{RATE}))", "{{reason}}")],
                "reqps",
                is_stacked=True,
            ),
        ],
    ),
    (
        "Disks",
        [
            Panel(
                "Free space",
                "By node. Postgres stops when its disk is full.",
                [("ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage)", "{{ip}}")],
                "percentunit",
            ),
            Panel("Written", "By node.", [("ray_node_disk_io_write_speed", "{{ip}}")], "Bps"),
            Panel("Read", "By node.", [("ray_node_disk_io_read_speed", "{{ip}}")], "Bps"),
        ],
    ),
]

DASHBOARDS: dict[str, tuple[str, Sequence[Row]]] = {
    "experience": ("ChatLLM: users' experience", EXPERIENCE),
    "autoscaling": ("ChatLLM: autoscaling", AUTOSCALING),
    "stores": ("ChatLLM: stores", STORES),
}
VARIABLES = {
    "model": ("Model", "label_values(ray_chatllm_requests_total, model)"),
    "deployment": ("Deployment", "label_values(chatllm:replicas:target, deployment)"),
}
DECISIONS = f"ray_chatllm_scaling_decisions_total{OF_SCALED}"
SCALED = {
    "name": "Target changed",  # by hand too, and by a policy that tells no reasons
    "enable": True,
    "iconColor": "orange",
    "datasource": SOURCE,
    "expr": f"changes(chatllm:replicas:target{OF_DEPLOYMENT}[1m]) > 0",
    "titleFormat": "{{deployment}} scales",
    "step": "30s",
}


DECIDED = {
    "name": "Decision",
    "enable": True,
    "iconColor": "blue",
    "datasource": SOURCE,
    # A series begins with its first decision, whose increase Prometheus does not see.
    "expr": f"sum by (model, direction, cause) (increase({DECISIONS}[1m]) > 0"
    f" or {DECISIONS} unless {DECISIONS} offset 1m)",
    "titleFormat": "{{model}} {{direction}}: {{cause}}",
    "step": "30s",
}
"""The sentence with the figures is on /ops and in the controller's log: as a label it would be a series each."""


def dashboard(name: str) -> dict[str, Any]:
    """Return one dashboard as Grafana takes it."""
    title, rows = DASHBOARDS[name]
    panels = list(_placed(rows))
    used = [variable for variable in VARIABLES if f'"${variable}"' in " ".join(_expressions(rows))]
    return {
        "title": title,
        "uid": f"chatllm-{name}",
        "tags": ["chatllm"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "editable": True,
        "graphTooltip": 1,
        "links": [{"type": "dashboards", "tags": ["chatllm"], "title": "ChatLLM", "includeVars": True}],
        "annotations": {"list": [SCALED, DECIDED] if name == "autoscaling" else []},
        "templating": {"list": [_source(), *(_variable(variable, *VARIABLES[variable]) for variable in used)]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def _expressions(rows: Sequence[Row]) -> Iterator[str]:
    for _, panels in rows:
        for panel in panels:
            yield from (expression for expression, _ in panel.queries)


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the panels of all rows from left to right, with their places."""
    y = 0
    for title, panels in rows:
        at = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        yield {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": at}
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            yield _chart(panel, {"h": HEIGHT, "w": panel.width, "x": x, "y": y})
            x += panel.width
        y += HEIGHT


def _chart(panel: Panel, at: dict[str, int]) -> dict[str, Any]:
    custom = {
        "lineWidth": 1,
        "fillOpacity": 20 if panel.is_stacked else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.is_stacked else "none"},
    }
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def text(name: str) -> str:
    """Return the file of one dashboard."""
    return json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
