"""`/v1/audio/…`: no kind of model here takes a recording or speaks, which is said before a file is read."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.services import caller_of
from deployments.errors import BadRequest

router = APIRouter()
CANNOT = {
    "transcriptions": "does not transcribe audio",
    "translations": "does not translate audio",
    "speech": "does not speak",
}
"""What every model that can be served is unable to do, by the last part of the path."""


async def refuse(request: Request) -> Response:
    """Refuse to transcribe, translate or speak: another model would do no better."""
    await caller_of(request)
    what = CANNOT[request.url.path.rpartition("/")[2]]
    raise BadRequest(f"The model {what}, nor does any other model that this server offers.", "model")


for name in CANNOT:
    router.add_route(f"/v1/audio/{name}", refuse, methods=["POST"], include_in_schema=False)
