"""Stories of answers that nothing loses: broken streams, lost connections, and a page process that is started anew."""

import pytest

import ui.api.completion
from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.stand_in import KEY, StandIn
from ui.settings import ApiKey, Settings


async def before_a_restart(api_url: str, api: StandIn, question: str, words: str) -> str:
    """Ask, see the first words, and end the page's process; returns the conversation's address."""
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open("/")
        await ask(reader, question)
        await until(lambda: words in reader.answer())
    assert api.seen.running == 1 and not api.seen.cancelled, "the service goes on"
    return f"/c/{next(iter(api.conversations))}"


@pytest.mark.parametrize("way", ["cut_after", "break_after"])
async def test_a_stream_that_breaks_is_taken_up_where_it_was(reader: Reader, api: StandIn, way: str) -> None:
    api.behaviour.answer = "One two three four five."
    setattr(api.behaviour, way, 2)
    await reader.open("/")
    await ask(reader, "Count")
    await until(lambda: "five." in reader.answer())
    assert "One two three four five." in reader.answer()
    assert getattr(api.behaviour, way) is None, "it did break"
    assert len(api.seen.requests) == 1 and not reader.texts("error-title")


async def test_an_answer_of_a_service_that_stays_away_is_told_as_cut_off(
    page: Page, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui.api.completion, "REJOIN_FOR_S", 0.3)
    api.behaviour.answer, api.behaviour.hold_after = "Half of this was said.", 2
    reader = page.new_reader()
    await reader.open("/")
    await ask(reader, "Say it")
    await until(lambda: "Half of" in reader.answer())
    api.behaviour.is_away = True
    await reader.sees("The answer was cut off")
    assert "Half of" in reader.answer()


async def test_an_answer_goes_on_after_a_restart_of_the_page(api_url: str, api: StandIn) -> None:
    api.behaviour.answer, api.behaviour.hold_after = "Begun before the restart, ended after it.", 4
    address = await before_a_restart(api_url, api, "Never lose this", "before the restart,")
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open(address)
        await until(lambda: "Begun before the restart," in reader.answer())
        assert "ended" not in reader.answer() and reader.texts("bubble") == ["Never lose this"]
        await reader.sees_marked("stop")
        second = page.new_reader()
        await second.open(address)
        await until(lambda: "Begun before the restart," in second.answer())
        api.go_on.set()
        for each in (reader, second):
            await until(lambda each=each: "ended after it." in each.answer())
        await reader.sees_marked("about")
        reader.clicks("about")
        (figures,) = reader.texts("figures")
        assert "7 tokens" in figures and "first token" not in figures  # nobody knows when it came
    assert len(api.seen.requests) == 1 and api.seen.finished == 1


async def test_an_answer_that_ended_while_no_page_ran_is_there(api_url: str, api: StandIn) -> None:
    api.behaviour.answer, api.behaviour.hold_after = "Written while nobody watched.", 1
    address = await before_a_restart(api_url, api, "Go on alone", "Written")
    api.go_on.set()
    await until(lambda: api.seen.finished == 1)
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open(address)
        await until(lambda: "Written while nobody watched." in reader.answer())


async def test_an_answer_is_stopped_after_a_restart(api_url: str, api: StandIn) -> None:
    api.behaviour.answer, api.behaviour.hold_after = "Kept words, and then words that never come.", 2
    address = await before_a_restart(api_url, api, "Talk for ever", "Kept words,")
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open(address)
        await until(lambda: "Kept words," in reader.answer())
        reader.clicks("stop")
        await reader.sees("You stopped this answer.")
    assert api.seen.cancelled == 1 and not api.seen.running


async def test_an_answer_that_is_gone_on_with_survives_a_restart(api_url: str, api: StandIn) -> None:
    id_ = api.add_conversation("A story")
    api.add_message(id_, "user", "Tell me a story")
    api.add_message(id_, "assistant", "Once upon", status="incomplete")
    api.behaviour.answer, api.behaviour.hold_after = " there was a page.", 2
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open(f"/c/{id_}")
        await until(lambda: not reader.texts("status-title"))
        await reader.sees_marked("proceed")
        reader.clicks("proceed")
        await until(lambda: "Once upon there" in reader.answer())
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open(f"/c/{id_}")
        await until(lambda: "Once upon there" in reader.answer())
        assert reader.texts("bubble") == ["Tell me a story"] and reader.answer().count("Once upon") == 1
        api.go_on.set()
        await until(lambda: "Once upon there was a page." in reader.answer())


async def test_a_stop_that_does_not_reach_the_service_says_so(reader: Reader, api: StandIn) -> None:
    api.behaviour.hold_after = 1
    await reader.open("/")
    await ask(reader, "Stop me")
    await until(lambda: "Hello" in reader.answer())
    api.runs.clear()  # the service does not know it any more
    reader.clicks("stop")
    await reader.sees("This conversation does not exist")
