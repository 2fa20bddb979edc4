"""Work for many requests carries the context of none: Serve would cancel it with the first that leaves."""

import asyncio
import contextvars

from deployments.infra.detached import detached

REQUEST = contextvars.ContextVar("REQUEST", default="none")


async def test_a_detached_task_sees_nothing_of_the_request_that_started_it() -> None:
    async def work() -> str:
        return REQUEST.get()

    REQUEST.set("one")
    assert await asyncio.create_task(work()) == "one"
    assert await detached(work(), "work") == "none"
