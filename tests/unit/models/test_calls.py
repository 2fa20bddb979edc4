"""Calls whose answers are here: they are bounded, and their ends tell nobody anything."""

import asyncio

import pytest
from ray.serve.exceptions import RequestCancelledError

from deployments.models.calls import Calls, begun


async def test_calls_beyond_the_bound_wait_until_one_is_settled() -> None:
    calls, replies = Calls(max_unsettled=2), [asyncio.get_running_loop().create_future() for _ in range(2)]
    for reply in replies:
        await calls.room()
        calls.settle(begun(reply))
    assert calls.unsettled == 2
    waiting = asyncio.create_task(calls.room())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    replies[0].set_result(None)
    await asyncio.wait_for(waiting, 1)
    assert calls.unsettled == 1
    await calls.aclose()
    assert calls.unsettled == 0


@pytest.mark.parametrize("is_done", [False, True])
async def test_what_a_settled_call_fails_with_is_dropped(is_done: bool) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    calls, reply = Calls(), asyncio.get_running_loop().create_future()
    call = begun(reply)
    if is_done:
        reply.set_exception(RuntimeError("late"))
        await asyncio.wait((call,))
    calls.settle(call)
    if not is_done:
        reply.set_exception(RuntimeError("late"))
        await asyncio.wait((call,))
    await asyncio.sleep(0)
    del call
    assert calls.unsettled == 0 and not reported


async def test_a_call_that_never_replies_is_cancelled() -> None:
    calls, reply = Calls(reply_timeout_s=0.05), asyncio.get_running_loop().create_future()
    calls.settle(begun(reply))
    async with asyncio.timeout(1):
        while calls.unsettled:
            await asyncio.sleep(0.01)
    assert reply.cancelled()


async def test_a_cancelled_call_is_told_from_a_reply_that_says_so() -> None:
    reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    reply.cancel()
    with pytest.raises(RequestCancelledError):
        await begun(reply)
    call = begun(asyncio.get_running_loop().create_future())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_replica_that_no_longer_replies_does_not_hold_the_requests_of_others() -> None:
    calls = Calls(max_unsettled=2, reply_timeout_s=3600, crowded_timeout_s=0.05)
    silent = [asyncio.get_running_loop().create_future() for _ in range(2)]
    for reply in silent:
        calls.settle(begun(reply))
    async with asyncio.timeout(10):
        await asyncio.gather(calls.room(), calls.room())
    await asyncio.sleep(0)
    assert silent[0].cancelled() and calls.unsettled < 2
    await calls.aclose()


async def test_late_replies_are_waited_for_while_there_is_room() -> None:
    calls, late = Calls(max_unsettled=2, crowded_timeout_s=0.0), asyncio.get_running_loop().create_future()
    calls.settle(begun(late))
    await calls.room()
    await asyncio.sleep(0)
    assert calls.unsettled == 1 and not late.cancelled()
    await calls.aclose()
