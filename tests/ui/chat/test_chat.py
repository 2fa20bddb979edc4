"""Stories of a conversation: ask, read while it is written, stop, come back."""

import asyncio

from tests.ui.conftest import Page, Reader, until
from tests.ui.stand_in import StandIn
from ui.chat.welcome import DEMO_PROMPTS, PROMPTS


async def test_an_empty_page_greets_and_offers_four_questions(reader: Reader) -> None:
    await reader.open("/")
    await reader.sees("Hello!")
    await until(lambda: len(reader.texts("prompt-title")) == 4)
    await reader.sees("Your conversations will appear here.")
    await reader.sees("guide")


async def test_the_questions_are_such_as_the_chosen_model_can_answer(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "ready", "larger": "ready"}
    await reader.open("/")
    await until(lambda: reader.texts("prompt-title") == [question for question, _ in DEMO_PROMPTS])
    reader.clicks("picker")
    reader.clicks("model-larger")
    await until(lambda: reader.texts("prompt-title") == [question for question, _ in PROMPTS])
    reader.clicks("prompt-0")
    await reader.sees("I am a stand-in.")
    assert api.seen.requests[0]["input"] == [{"role": "user", "content": PROMPTS[0][0]}]


async def test_a_suggested_question_is_sent_with_one_click(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    reader.clicks("prompt-0")
    await reader.sees("I am a stand-in.")
    assert api.seen.requests[0]["input"] == [{"role": "user", "content": DEMO_PROMPTS[0][0]}]
    assert "Hello! How can I help?" not in reader.texts("greeting")


async def test_the_answer_is_shown_while_it_is_written(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer = "The first words come long before the last."
    api.behaviour.hold_after = 3
    await reader.open("/")
    await ask(reader, "Will it stream?")
    await until(lambda: "The first words" in reader.answer())
    assert "last" not in reader.answer() and api.seen.finished == 0
    api.go_on.set()
    await until(lambda: "long before the last." in reader.answer())
    assert reader.texts("bubble") == ["Will it stream?"]


async def test_the_conversation_is_created_with_the_first_message_and_named_after_it(
    reader: Reader, api: StandIn
) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    assert not api.conversations
    reader.writes("How  do I\nbuild a boat " + "that floats " * 10)
    await reader.sees("I am a stand-in.")
    (conversation_id,) = api.conversations
    title = api.conversations[conversation_id]["title"]
    assert title.startswith("How do I build a boat that floats") and title.endswith("…") and len(title) <= 61
    assert reader.texts("entry-link") == [title]
    assert api.seen.requests[0]["conversation"] == conversation_id
    reader.writes("And then?")
    await until(lambda: len(reader.texts("bubble")) == 2 and api.seen.finished == 2)
    assert [request["conversation"] for request in api.seen.requests] == [conversation_id] * 2
    assert len(api.conversations) == 1
    assert len(api.seen.requests[1]["input"]) == 1  # the service knows the earlier ones itself


async def test_stop_reaches_the_service_and_keeps_what_has_come(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer = "Kept words, and then words that never come."
    api.behaviour.hold_after = 2
    await reader.open("/")
    await ask(reader, "Talk for ever")
    await until(lambda: "Kept words" in reader.answer())
    reader.clicks("stop")
    await until(lambda: api.seen.cancelled == 1)
    await reader.sees("You stopped this answer.")
    assert "Kept words" in reader.answer() and "never" not in reader.answer()
    assert api.seen.running == 0
    await reader.sees_marked("send")


async def test_nothing_is_sent_twice_while_an_answer_is_written(reader: Reader, api: StandIn) -> None:
    api.behaviour.hold_after = 1
    await reader.open("/")
    await ask(reader, "Once")
    await until(lambda: api.seen.running == 1)
    reader.writes("Twice")
    await asyncio.sleep(0.2)
    assert len(api.seen.requests) == 1


async def test_a_reload_finds_the_running_answer(page: Page, api: StandIn) -> None:
    api.behaviour.answer = "Begun before the reload, ended after it."
    api.behaviour.hold_after = 4
    before = page.new_reader()
    client = await before.open("/")
    await ask(before, "Never lose this")
    await until(lambda: "Begun before the reload," in before.answer())
    client.delete()  # what NiceGUI does once the browser is gone
    assert api.seen.running == 1
    after = page.new_reader()
    await after.open(f"/c/{next(iter(api.conversations))}")
    await until(lambda: "Begun before the reload," in after.answer())
    assert after.texts("bubble") == ["Never lose this"]
    api.go_on.set()
    await until(lambda: "ended after it." in after.answer())
    assert len(api.seen.requests) == 1 and api.seen.finished == 1


async def test_a_second_tab_sees_the_question_and_the_answer_that_the_first_one_asked_for(
    page: Page, api: StandIn
) -> None:
    conversation_id = api.add_conversation("Shared")
    first, second = page.new_reader(), page.new_reader()
    await first.open(f"/c/{conversation_id}")
    await second.open(f"/c/{conversation_id}")
    await ask(first, "For both")
    await until(lambda: "I am a stand-in." in second.answer())
    assert second.texts("bubble") == first.texts("bubble") == ["For both"]


async def test_another_conversation_can_be_read_while_an_answer_is_written(reader: Reader, api: StandIn) -> None:
    other = api.add_conversation("The other one", age_s=60)
    api.add_message(other, "user", "An old question")
    api.add_message(other, "assistant", "An old answer")
    api.behaviour.answer = "Slowly written."
    api.behaviour.hold_after = 1
    await reader.open("/")
    await ask(reader, "A slow question")
    await until(lambda: "Slowly" in reader.answer())
    reader.clicks(f"open-{other}")
    await until(lambda: "An old answer" in reader.answer())
    assert "Slowly" not in reader.answer()
    assert reader.texts("pulse") == [""]
    await reader.sees_marked("send")  # here nothing is being written
    api.go_on.set()
    await until(lambda: api.seen.finished == 1 and not reader.texts("pulse"))
    assert "Slowly" not in reader.answer()
    started = next(key for key in api.conversations if key != other)
    reader.clicks(f"open-{started}")
    await until(lambda: "Slowly written." in reader.answer())


async def test_a_stored_conversation_is_shown_whole_and_says_what_was_stopped(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Stored")
    api.add_message(conversation_id, "user", "One?")
    api.add_message(conversation_id, "assistant", "**One.**")
    api.add_message(conversation_id, "user", "Two?")
    api.add_message(conversation_id, "assistant", "Two is", status="incomplete")
    await reader.open(f"/c/{conversation_id}")
    await until(lambda: reader.texts("bubble") == ["One?", "Two?"])
    await until(lambda: "<strong>One.</strong>" in reader.answer())
    await reader.sees("This answer was stopped before it was complete.")


async def test_an_answer_that_reached_its_length_limit_says_so_after_a_reload(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Stored")
    for number in range(2):
        api.add_message(conversation_id, "user", f"{number}?")
        api.add_message(conversation_id, "assistant", f"{number} is", status="incomplete")
        api.items[conversation_id][-1]["incomplete_details"] = {"reason": "max_output_tokens"}
    await reader.open(f"/c/{conversation_id}")
    await until(lambda: reader.texts("note") == ["The answer reached its length limit."] * 2)
    await reader.sees_marked("proceed")


async def test_a_long_conversation_opens_at_its_end_and_shows_earlier_messages_on_demand(
    reader: Reader, api: StandIn
) -> None:
    conversation_id = api.add_conversation("Long")
    for number in range(60):
        api.add_message(conversation_id, "user", f"question {number}")
    await reader.open(f"/c/{conversation_id}")
    await until(lambda: len(reader.texts("bubble")) == 50)
    assert reader.texts("bubble")[-1] == "question 59"
    reader.find(content="Show earlier messages").click()
    await until(lambda: len(reader.texts("bubble")) == 60)
    assert reader.texts("bubble")[0] == "question 0"


async def test_an_answer_tells_on_demand_how_it_came_to_be(reader: Reader, api: StandIn) -> None:
    api.behaviour.from_cache = True
    await reader.open("/")
    await ask(reader, "Again?")
    await until(lambda: api.seen.finished == 1)
    await reader.sees_marked("about")
    assert not reader.texts("figures")
    reader.clicks("about")
    (figures,) = reader.texts("figures")
    for said in ("From cache", "6 tokens", "first token after", "guide"):
        assert said in figures


async def test_the_model_is_chosen_where_there_are_several(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "ready", "larger": "ready"}
    await reader.open("/")
    await reader.sees_marked("picker")
    reader.clicks("picker")
    await reader.sees_marked("model-larger")
    reader.clicks("model-larger")
    await ask(reader, "Who are you?")
    await until(lambda: api.seen.finished == 1)
    assert api.seen.requests[0]["model"] == "larger"


async def test_a_closed_page_leaves_nothing_behind(page: Page, api: StandIn) -> None:
    reader = page.new_reader()
    client = await reader.open("/")
    await ask(reader, "Hello")
    await until(lambda: api.seen.finished == 1)
    shared = page.service.shared
    assert shared.generations.watchers == 2 and shared.readiness.watchers == 1
    assert len(shared.changes) == 1
    client.delete()
    assert shared.generations.watchers == 1 and shared.readiness.watchers == 0  # titles wait for all pages
    assert len(shared.changes) == 0


async def ask(reader: Reader, text: str) -> None:
    """Send a message once the page is ready for it."""
    await until(lambda: not reader.texts("status-title"))
    reader.writes(text)
