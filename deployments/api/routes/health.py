"""`GET /health`: this replica is alive. `GET /ready`: the default model answers, or a request wakes it. No key needed.

With an administrator's key `/ready` also says why a model has not loaded.
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.schemas.model_list import Health, Readiness
from deployments.api.schemas.openapi import documented
from deployments.api.services import is_admin, services_of
from deployments.errors import ModelFailed
from deployments.models.availability import ModelState

router = APIRouter(tags=["health"])

RETRY_AFTER_S = 2


@router.get("/health", response_model=None, openapi_extra=documented(answer=Health, public=True))
async def health() -> Response:
    """Answer 200 while the event loop runs."""
    return JSON({"status": "ok"})


@router.get(
    "/ready", response_model=None, openapi_extra=documented(answer=Readiness, also={503: Readiness}, public=True)
)
async def ready(request: Request) -> Response:
    """Answer 200 once a replica of the default model runs, or none has to, else 503; both tell each model's state.

    A model that is asleep has no replica as long as nobody asks for it.

    To an administrator's key alone, `reason` says why one has not loaded, and `problems` what is wrong with the
    configuration.
    """
    services = services_of(request)
    states = await services.models.states()
    default = services.models.names.default
    status = next((state.status for state in states if state.id == default), "loading")
    status = "ready" if status == "asleep" else status
    problems = services.problems()
    shows_reasons = bool(problems or any(state.absence.reason for state in states)) and await is_admin(request)
    body: dict[str, Any] = {"status": status, "models": [_shown(state, shows_reasons) for state in states]}
    if problems and shows_reasons:
        body["problems"] = problems
    if status == "ready":
        return JSON(body)
    has_failed = status == "failed"
    return JSON(body, 503, {"x-should-retry": "false"} if has_failed else {"retry-after": str(RETRY_AFTER_S)})


def _shown(state: ModelState, shows_reasons: bool) -> dict[str, Any]:
    has_failed = state.status == "failed"
    return {
        "id": state.id,
        "status": state.status,
        "elapsed_s": round(state.elapsed_s, 1),
        "replicas": state.replicas,
        "message": ModelFailed().message if has_failed else "",
        "reason": state.absence.reason if shows_reasons else "",
        "phase": state.phase,
        "percent": state.percent,
        "expected_s": state.expected_s,
        "remaining_s": state.remaining_s,
    }
