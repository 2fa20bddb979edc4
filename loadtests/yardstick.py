"""The bare yardstick: uvicorn, FastAPI and one Redis GET, in one process; what any cache in Python costs at least.

YARDSTICK_REDIS=unix:///… uvicorn loadtests.yardstick:app
"""

import os

from fastapi import FastAPI, Response
from redis.asyncio import Redis

app = FastAPI()
client = Redis.from_url(os.environ.get("YARDSTICK_REDIS", "redis://127.0.0.1:6379"), max_connections=64)


@app.post("/{name}")
async def stored(name: str) -> Response:
    """Return the bytes that are stored under a name."""
    return Response(await client.get(f"yardstick:{name}"), media_type="application/json")
