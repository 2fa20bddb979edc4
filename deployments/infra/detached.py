"""Work that belongs to no request, though a request started it."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def detached(work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
    """Start `work` as a task in a context of its own; the caller keeps the reference.

    Serve knows by the context to which request a handle call belongs, and cancels
    the calls of a request whose client leaves. What other requests wait for too,
    or what must be done whoever leaves, may not be among them.
    """
    return asyncio.create_task(work, name=name, context=contextvars.Context())
