"""Writes the dashboards of this folder: `python configs/grafana/make.py`, from the repository's folder.

They are made by a program, since a panel is thirty lines of JSON of which three matter; `panels/` says what they show.
Import the JSON files into Grafana, or let it read them (provisioning/). A test fails when a file is not what this
program makes.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from panels.autoscaling import AUTOSCALING
from panels.experience import EXPERIENCE
from panels.panel import OF_DEPLOYMENT, OF_SCALED, Panel, Row
from panels.stores import STORES

FOLDER = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 24, 8

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
