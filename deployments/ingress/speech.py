"""`/v1/audio/…`: no engine here serves a speech model, which is said before a file is read."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.errors import NotOffered
from deployments.ingress.services import caller_of

router = APIRouter()


async def refuse(request: Request) -> Response:
    """Refuse to transcribe, translate or speak."""
    await caller_of(request)
    raise NotOffered("This server serves no speech models: it neither transcribes nor translates nor speaks.")


for path in ("transcriptions", "translations", "speech"):
    router.add_route(f"/v1/audio/{path}", refuse, methods=["POST"], include_in_schema=False)
