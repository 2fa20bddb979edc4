"""Stories of a key whose limit is reached: a refused message waits, is sent by itself, and costs nothing twice."""

import asyncio

import pytest

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, until
from tests.ui.stand_in import StandIn

TWO_A_MINUTE = {
    "limits": {"requests_per_minute": 2},
    "remaining": {"requests_per_minute": {"limit": 2, "remaining": 1, "reset_s": 30}},
}


async def test_a_message_costs_one_request(reader: Reader, api: StandIn) -> None:
    api.me, api.behaviour.title = TWO_A_MINUTE, "A title that would cost one more"
    api.behaviour.requests_left = 2
    await reader.open("/")
    assert api.behaviour.requests_left == 2
    for number in (1, 2):
        await ask(reader, f"Question {number}")
        await until(lambda: api.seen.finished == number)  # noqa: B023 - it is awaited here
        await until(lambda: len(reader.texts("tools")) == 2 * number)  # noqa: B023
    await asyncio.sleep(0.3)
    assert api.seen.completions == [] and len(api.seen.requests) == 2
    assert reader.texts("entry-link") == ["Question 1"]


async def test_a_refused_message_is_sent_when_the_limit_allows(reader: Reader, api: StandIn) -> None:
    api.behaviour.requests_left, api.behaviour.retry_after = 0, "2"
    await reader.open("/")
    await ask(reader, "Keep me")
    await until(lambda: reader.texts("countdown") == ["Sending in 2 seconds."])
    await until(lambda: reader.texts("countdown") == ["Sending in 1 second."])
    assert reader.texts("bubble") == ["Keep me"] and not reader.texts("thinking")
    api.behaviour.requests_left = 1
    await reader.sees("I am a stand-in.")
    assert reader.texts("bubble") == ["Keep me"] and not reader.texts("countdown")
    (items,) = api.items.values()
    assert [item["role"] for item in items] == ["user", "assistant"]  # it was stored once


async def test_who_does_not_want_to_wait_cancels_and_has_the_message_still(reader: Reader, api: StandIn) -> None:
    api.behaviour.requests_left, api.behaviour.retry_after = 0, "60"
    await reader.open("/")
    await ask(reader, "Keep me")
    await until(lambda: len(reader.texts("countdown")) == 1)
    reader.clicks("cancel-wait")
    await reader.sees_marked("retry")
    assert reader.texts("bubble") == ["Keep me"] and not reader.texts("countdown")
    await reader.sees_marked("send")
    api.behaviour.requests_left = 1
    reader.clicks("retry")
    await reader.sees("I am a stand-in.")
    assert reader.texts("bubble") == ["Keep me"]


async def test_a_reload_and_a_second_tab_see_the_message_that_waits(page: Page, api: StandIn) -> None:
    api.behaviour.requests_left, api.behaviour.retry_after = 0, "60"
    before, after = page.new_reader(), page.new_reader()
    client = await before.open("/")
    await ask(before, "Keep me")
    await until(lambda: len(before.texts("countdown")) == 1)
    client.delete()
    await after.open(f"/c/{next(iter(api.conversations))}")
    await until(lambda: len(after.texts("countdown")) == 1)
    assert after.texts("bubble") == ["Keep me"]
    after.clicks("stop")  # the composer's button means the same
    await after.sees_marked("retry")


async def test_what_no_waiting_mends_is_not_sent_again(reader: Reader, api: StandIn) -> None:
    """A request that is larger than the limit itself comes without Retry-After."""
    api.behaviour.requests_left = 0
    await reader.open("/")
    await ask(reader, "Too large")
    await reader.sees("Rate limit reached")
    await reader.sees("Limit: 2 requests per minute.")
    assert not reader.texts("countdown")


async def test_both_sides_of_a_comparison_wait(reader: Reader, api: StandIn) -> None:
    api.behaviour.requests_left, api.behaviour.retry_after = 1, "2"
    await reader.open("/compare")
    await ask(reader, "Both of you")
    await until(lambda: len(reader.texts("countdown")) == 1)
    api.behaviour.requests_left = 2  # the title takes one as well
    await until(lambda: reader.answer().count("I am a stand-in.") == 2)


@pytest.mark.parametrize(
    ("comment", "shown"),
    [
        ("waiting in the queue, position 3, about 12 s", "Position in the queue: 3, about 12 seconds."),
        ("waiting in the queue, position 1", "Position in the queue: 1."),
    ],
)
async def test_who_waits_for_a_busy_model_sees_where_and_how_long(
    reader: Reader, api: StandIn, comment: str, shown: str
) -> None:
    api.behaviour.comment, api.behaviour.first_token_delay_s = comment, 1.0
    await reader.open("/")
    await ask(reader, "Is anybody there?")
    await until(lambda: any(shown in text for text in reader.texts("queue-place")))
    await reader.sees("I am a stand-in.")
    assert not any(reader.texts("queue-place"))
