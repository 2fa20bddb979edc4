"""Garbage collection in processes that serve: never over what their start has made, never while JSON is decoded.

A collection stops the event loop for as long as it looks at objects, in whichever thread it runs.
"""

import gc
from typing import Any

import orjson


def freeze_heap() -> None:
    """Exclude all objects that exist now from garbage collection; call it once a process is ready to serve.

    Those of imported libraries outnumber those of requests by far, and are never garbage.
    """
    gc.collect()
    gc.freeze()


def decoded_json(body: bytes) -> Any:
    """Return what `orjson.loads` does, without collections between: what is decoded has no cycles.

    Its many new objects would start several full ones, within one call.
    """
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        gc.enable()
