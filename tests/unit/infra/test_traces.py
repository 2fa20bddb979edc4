import asyncio

from deployments.infra.traces import trace

SECRET = "what was asked"


def caught(build):
    try:
        build()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error


def fails():
    raise KeyError(SECRET)


def fails_with_a_cause():
    try:
        fails()
    except KeyError as error:
        raise RuntimeError(SECRET) from error


async def fails_together():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(fails))


def test_a_trace_tells_places_and_types_and_no_message():
    told = trace(caught(fails_with_a_cause))
    assert SECRET not in told
    places = [told.index(word) for word in ("builtins.RuntimeError", "caused by", "in fails\n", "builtins.KeyError")]
    assert places == sorted(places)


def test_a_group_tells_of_what_is_in_it():
    told = trace(caught(lambda: asyncio.run(fails_together())))
    assert "ExceptionGroup" in told
    assert "builtins.KeyError" in told
    assert SECRET not in told


def test_a_circle_of_causes_ends():
    one, other = ValueError(SECRET), TypeError(SECRET)
    one.__cause__, other.__cause__ = other, one
    assert trace(one).count("caused by") < 20
