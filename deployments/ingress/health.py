"""`GET /health`: this replica is alive. `GET /ready`: the default model can generate. Both need no key."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.ingress.answers import JSON
from deployments.ingress.services import services_of

router = APIRouter(tags=["health"])

RETRY_AFTER_S = 2


@router.get("/health", response_model=None)
async def health() -> Response:
    """Answer 200 while the event loop runs."""
    return JSON({"status": "ok"})


@router.get("/ready", response_model=None)
async def ready(request: Request) -> Response:
    """Answer 200 once a replica of the default model runs, else 503; both tell each model's state."""
    states = services_of(request).models.states()
    is_ready = states[0].status == "ready"
    body = {
        "status": "ready" if is_ready else "loading",
        "models": [
            {"id": s.id, "status": s.status, "elapsed_s": round(s.elapsed_s, 1), "replicas": s.replicas, "message": ""}
            for s in states
        ],
    }
    return JSON(body, 200) if is_ready else JSON(body, 503, {"retry-after": str(RETRY_AFTER_S)})
