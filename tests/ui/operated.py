"""What a service tells its administrators, made up: a quarter of an hour that looks like one, and tables.

`python -m tests.ui.operated PORT` serves it, beside the stand-in's own routes.
"""

import math
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, Request

from tests.ui.stand_in import KEY, Refusal, StandIn

ADMIN_KEY = "sk-stand-in-admin"
STATUSES = {"200": 1.0, "429": 0.12, "503": 0.05, "499": 0.04}


@dataclass
class Operated:
    """What a test may change at any time, and how often the figures were asked for."""

    traffic: float = 1.0
    is_away: bool = False
    partial_because: str | None = None
    models: list[dict[str, Any]] = field(default_factory=lambda: [model("guide"), model("coder", "loading")])
    errors: list[dict[str, Any]] = field(default_factory=lambda: [error(age_s) for age_s in (12, 95, 400)])
    keys: list[dict[str, Any]] = field(default_factory=lambda: [key("local"), key("robot"), key("ops", admin=True)])
    decisions: list[dict[str, Any]] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    batches: list[dict[str, Any]] | None = field(default_factory=list)
    asked: int = 0
    windows: list[int] = field(default_factory=list)


def operated(api: StandIn) -> Operated:
    """Let a stand-in tell its administrators something."""
    made = Operated()
    _add_routes(api, made)
    return made


def model(name: str, status: str = "ready") -> dict[str, Any]:
    is_ready = status == "ready"
    return {
        "id": name,
        "status": status,
        "elapsed_s": 73.0,
        "replicas": 2 * is_ready,
        "running": 5 * is_ready,
        "waiting": 2 * is_ready,
        "queues": {"interactive": {"requests": 39, "tokens": 21_000, "oldest_s": 12.4}} if name == "guide" else {},
    }


def batch(name: str, status: str = "in_progress", *, done: int = 0, total: int = 0, ends_s: float | None = None) -> Any:
    now = round(time.time())
    return {
        "id": f"batch_{name}",
        "key_id": f"key_{name}",
        "key_name": name,
        "model": "guide",
        "status": status,
        "created_at": now - 600,
        "expires_at": now - 600 + 86_400,
        "expected_end_at": None if ends_s is None else round(now + ends_s),
        "request_counts": {"total": total, "completed": done, "failed": 0},
        "running": 4,
    }


def error(age_s: float, status: int = 503, code: str = "overloaded") -> dict[str, Any]:
    at = time.time() - age_s
    request_id = f"req_{round(age_s):024x}"
    return {"at": at, "status": status, "code": code, "model": "guide", "request_id": request_id, "key_id": "key_robot"}


def key(name: str, *, admin: bool = False) -> dict[str, Any]:
    return {"id": f"key_{name}", "name": name, "last4": "a1b2", "status": "valid", "admin": admin}


def _add_routes(api: StandIn, made: Operated) -> None:
    def administrator(request: Request) -> None:
        secret = api.secret_of(request)
        if secret == KEY:
            raise Refusal(403, "permission_denied")
        if secret != ADMIN_KEY:
            raise Refusal(401, "invalid_api_key")

    router = APIRouter(dependencies=[Depends(administrator)])

    @router.get("/v1/admin/metrics")
    async def metrics(window_s: int = 900, step_s: int = 15) -> dict[str, Any]:
        made.asked += 1
        made.windows.append(window_s)
        if made.is_away:
            raise Refusal(503, "unavailable")
        return _metrics(made, time.time(), window_s, step_s)

    @router.get("/v1/admin/batches")
    async def batches(limit: int) -> dict[str, Any]:
        if made.batches is None:
            raise Refusal(503, "unavailable")
        return {"data": made.batches[:limit]}

    @router.get("/v1/admin/keys")
    async def keys(limit: int = 20, after: str | None = None) -> dict[str, Any]:
        ids = [each["id"] for each in made.keys]
        begin = ids.index(after) + 1 if after in ids else 0
        page = made.keys[begin : begin + limit]
        return {"data": page, "last_id": page[-1]["id"] if page else None, "has_more": begin + limit < len(ids)}

    @router.get("/v1/usage")
    async def usage(key_id: str, group_by: str, start: str) -> dict[str, Any]:
        assert (key_id, group_by) == ("all", "key")
        days = 20 if start.endswith("-01") else 1
        return {
            "data": [
                {
                    "key_id": each["id"],
                    "requests": 40 * days * (at + 1),
                    "errors": days * at,
                    "total_tokens": 9_300 * days * (at + 1),
                    "cached_tokens": 1_200 * days,
                }
                for at, each in enumerate(made.keys)
            ]
        }

    api.app.include_router(router)


def _metrics(made: Operated, now: float, window_s: int, step_s: int) -> dict[str, Any]:
    last = now // step_s * step_s
    starts = [last - step_s * back for back in reversed(range(window_s // step_s))]
    points = [_point(made, start, min(step_s, now - start)) for start in starts]
    total = _figures(made, 2.0, float(window_s))
    return {
        "start": starts[0],
        "end": now,
        "step_s": step_s,
        "replicas_seen": 1 if made.partial_because else 2,
        "is_partial": bool(made.partial_because),
        "partial_because": made.partial_because,
        "points": points,
        "total": total,
        "models": [{**each, "total": total if each["replicas"] else _figures(made, 0, 1)} for each in made.models],
        "replicas": [_replica("9f2c64aa01d3e7b5", 0.0, now, 3), _replica("41d09be7c2a86f30", 380.0, now, 0)],
        "errors": made.errors,
        "decisions": made.decisions,
        "starts": made.starts,
        "nodes": made.nodes,
    }


def _replica(name: str, seen_s_ago: float, now: float, in_flight: int) -> dict[str, Any]:
    is_there = seen_s_ago < 15
    started = {"id": name, "started_at": now - 5000, "seen_s_ago": seen_s_ago}
    return {**started, "is_there": is_there, "in_flight": in_flight}


def _point(made: Operated, start: float, seconds: float) -> dict[str, Any]:
    wave = 3.0 + 2.2 * math.sin(start / 170) + 0.8 * math.sin(start / 23)
    sums = _figures(made, wave, seconds, 1 + 0.4 * math.sin(start / 90))
    replicas = {"guide": 1 + round(wave * made.traffic / 2.5), "coder": int(math.sin(start / 200) > 0)}
    in_flight = round(2 * wave * made.traffic)
    queued = {"guide": round(8 * max(0.0, wave - 4.0) * made.traffic)}
    beside = {"in_flight": in_flight, "replicas": replicas, "queued": queued}
    return {"start": start, "seconds": seconds, **beside, **sums}


def _figures(made: Operated, per_s: float, seconds: float, slowness: float = 1.0) -> dict[str, Any]:
    count = round(per_s * seconds * made.traffic)
    hits, joins = round(count * 0.35), round(count * 0.08)
    times = {"count": count, "p50_s": 0.18 * slowness, "p95_s": 0.62 * slowness} if count else {}
    whole = {"count": count, "p50_s": 1.4 * slowness, "p95_s": 5.2 * slowness} if count else {}
    requests = {status: round(count * share) for status, share in STATUSES.items() if round(count * share)}
    return {
        "requests": requests,
        "cache": {"HIT": hits, "JOIN": joins, "MISS": count - hits - joins} if count else {},
        "prompt_tokens": count * 40,
        "output_tokens": (count - hits - joins) * 64,
        "reused_tokens": (hits + joins) * 64,
        "ttft": times,
        "duration": whole,
    }


if __name__ == "__main__":
    stand_in = StandIn()
    operated(stand_in)
    with stand_in.served(int(sys.argv[1])):
        threading.Event().wait()
