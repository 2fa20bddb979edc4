"""Metrics: every call in the code that makes a counter, a gauge or a histogram of the service."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.generate.markdown import code, paragraphs, table

CODE = Path(__file__).parents[2] / "deployments"
KINDS = ("Counter", "Gauge", "Histogram")
INTRODUCTION = """
# Metrics

Every node of the Ray cluster exports these to Prometheus; [Monitoring](../how-to/monitoring.md) shows how to collect
them. Ray adds the labels `application`, `deployment` and `replica`. None of them holds a prompt, an answer or a key.
"""
OTHERS = """
## Metrics of others

- `ray_serve_…`: [Ray Serve's own](https://docs.ray.io/en/latest/serve/monitoring.html), such as requests and latency of
  every deployment.
- `ray_vllm_…`: [vLLM's own](https://docs.vllm.ai/en/latest/usage/metrics.html), such as running and waiting requests
  and the use of the KV cache.

The dashboards in [`configs/grafana`](../../configs/grafana) show all three.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as the code makes it."""

    name: str
    kind: str
    description: str
    labels: tuple[str, ...]


def page() -> str:
    """Return the page."""
    rows = [
        (
            code(f"ray_{metric.name}"),
            metric.kind.lower(),
            ", ".join(map(code, metric.labels)) or "—",
            metric.description,
        )
        for metric in sorted(found(), key=lambda metric: metric.name)
    ]
    return paragraphs(INTRODUCTION, table(("metric", "kind", "labels", ""), rows), OTHERS)


def found() -> Iterator[Metric]:
    """Return the service's metrics, in no order."""
    for path in sorted(CODE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                yield from _metric(node, node.func.id)


def _metric(call: ast.Call, kind: str) -> Iterator[Metric]:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    labels = named.get("tag_keys", call.args[2] if len(call.args) > 2 else None)
    if texts and isinstance(texts[0], str):
        yield Metric(texts[0], kind, str(texts[1]), tuple(_texts(labels)))


def _texts(node: ast.expr | None) -> Iterator[str]:
    for part in ast.walk(node) if node else ():
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
