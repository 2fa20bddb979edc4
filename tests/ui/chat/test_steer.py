"""Stories of a conversation that takes another course: regenerated, edited, walked through, continued, tuned."""

import asyncio

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Reader, until
from tests.ui.sidebar.test_sidebar import choose
from tests.ui.stand_in import KEY, StandIn
from ui.api.client import Api
from ui.settings import ApiKey, Settings


def conversation(api: StandIn) -> tuple[str, list[str]]:
    """Store two questions with their answers."""
    id_ = api.add_conversation("Rivers")
    turns = [("user", "The Rhine?"), ("assistant", "1,233 km."), ("user", "The Elbe?"), ("assistant", "1,094 km.")]
    return id_, [api.add_message(id_, role, text) for role, text in turns]


async def opened(reader: Reader, api: StandIn) -> tuple[str, list[str]]:
    id_, items = conversation(api)
    await reader.open(f"/c/{id_}")
    await until(lambda: reader.texts("bubble") == ["The Rhine?", "The Elbe?"] and not reader.texts("status-title"))
    return id_, items


async def test_an_answer_is_generated_again_beside_the_first_one(reader: Reader, api: StandIn) -> None:
    _, items = await opened(reader, api)
    api.behaviour.answer = "About 1,100 km."
    reader.clicks("again-3")
    await until(lambda: reader.texts("pager-place") == ["2/2"])
    assert "About 1,100 km." in reader.answer() and "1,094 km." not in reader.answer()
    assert reader.texts("bubble") == ["The Rhine?", "The Elbe?"]
    assert api.seen.requests[0]["parent"] == items[1]
    reader.clicks("previous-3")
    await until(lambda: "1,094 km." in reader.answer())
    assert "About" not in reader.answer() and reader.texts("pager-place") == ["1/2"]
    reader.clicks("previous-3")  # there is none before the first
    assert reader.texts("pager-place") == ["1/2"]


async def test_an_edited_question_begins_a_branch_and_both_stay(reader: Reader, api: StandIn) -> None:
    _, items = await opened(reader, api)
    api.behaviour.answer = "In Switzerland."
    reader.clicks("edit-0")
    await reader.sees_marked("resend-0")
    reader.find(marker="editor-0").clear().type("Where does the Rhine begin?")
    reader.clicks("resend-0")
    await until(lambda: reader.texts("pager-place") == ["2/2"])
    assert reader.texts("bubble") == ["Where does the Rhine begin?"]
    assert api.seen.requests[0]["parent"] == ""  # beside the very first message
    reader.clicks("previous-0")
    await until(lambda: reader.texts("bubble") == ["The Rhine?", "The Elbe?"])
    reader.writes("And the Danube?")
    await until(lambda: api.seen.finished == 2)
    assert api.seen.requests[1]["parent"] == items[3]  # the branch that is read goes on, not the newest one
    await until(lambda: len(reader.texts("bubble")) == 3)


async def test_an_edit_can_be_given_up(reader: Reader, api: StandIn) -> None:
    await opened(reader, api)
    reader.clicks("edit-2")
    await reader.sees_marked("resend-2")
    reader.clicks("cancel-2")
    await until(lambda: reader.texts("bubble") == ["The Rhine?", "The Elbe?"])
    assert not api.seen.requests


async def test_a_stopped_answer_is_continued_where_it_ended(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer, api.behaviour.hold_after = "Once upon a time", 2
    await reader.open("/")
    await ask(reader, "Tell me a story")
    await until(lambda: "Once upon" in reader.answer())
    reader.clicks("stop")
    await reader.sees_marked("proceed")
    api.behaviour.answer, api.behaviour.hold_after = " there was a page.", None
    await until(lambda: len(next(iter(api.items.values()))) == 2)
    reader.clicks("proceed")
    await until(lambda: "Once upon there was a page." in reader.answer())
    asked = api.seen.requests[1]
    assert asked["input"] == [{"role": "assistant", "content": "Once upon"}]
    assert asked["continue_final_message"] is True and asked["add_generation_prompt"] is False
    assert asked["parent"] == next(iter(api.items.values()))[0]["id"]
    await until(lambda: api.seen.finished == 1 and not reader.texts("note"))
    assert reader.texts("bubble") == ["Tell me a story"] and not reader.texts("pager-place")
    client = await reader.open(f"/c/{next(iter(api.conversations))}")
    await until(lambda: "Once upon there was a page." in reader.answer())
    client.delete()


async def test_a_chat_has_a_system_prompt_and_parameters_of_its_own(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    reader.clicks("tune")
    await reader.sees_marked("save-tuning")
    reader.find(marker="system").type("Speak like a pirate. " * 40)
    reader.find(marker="temperature").type("0.5")
    reader.find(marker="top-p").type("7")
    reader.find(marker="max-tokens").type("64")
    reader.submits("tuning")
    assert [fault for fault in reader.texts("field-fault") if fault] == ["Enter a number from 0 to 1."]
    reader.find(marker="top-p").clear()  # until then nothing is saved
    reader.submits("tuning")
    await ask(reader, "Hello")
    await until(lambda: api.seen.finished == 1)
    first = api.seen.requests[0]
    assert (first["temperature"], first["max_output_tokens"]) == (0.5, 64) and "top_p" not in first
    assert [message["role"] for message in first["input"]] == ["system", "user"]
    assert first["input"][0]["content"] == ("Speak like a pirate. " * 40).strip()
    assert reader.texts("bubble") == ["Hello"]
    await reader.open(f"/c/{next(iter(api.conversations))}")  # as after a restart: it is kept with the conversation
    await until(lambda: reader.texts("bubble") == ["Hello"])
    reader.writes("Again")
    await until(lambda: api.seen.finished == 2)
    assert api.seen.requests[1]["temperature"] == 0.5
    assert [message["role"] for message in api.seen.requests[1]["input"]] == ["user"]  # it has been said


async def test_changes_in_the_same_instant_are_all_kept(api: StandIn, api_url: str) -> None:
    id_ = api.add_conversation("Busy")
    pages = [Api(Settings(api_url, ApiKey(KEY))) for _ in range(2)]
    changes = [pages[n % 2].keep(id_, lambda known, n=n: known | {f"key{n}": "kept"}) for n in range(10)]
    await asyncio.gather(*changes)
    assert len(api.conversations[id_]["metadata"]) == 10
    for page in pages:
        await page.aclose()


async def test_what_is_set_and_what_is_pinned_meanwhile_are_both_kept(reader: Reader, api: StandIn) -> None:
    id_, _ = await opened(reader, api)
    kept = {"system_0": "Rhyme."}
    await tunes(reader, "system", "Rhyme.")
    await until(lambda: api.conversations[id_]["metadata"] == kept)
    await choose(reader, "pin", id_)
    await until(lambda: api.conversations[id_]["metadata"] == kept | {"pinned": "true"})
    await tunes(reader, "temperature", "0.5")
    await until(lambda: api.conversations[id_]["metadata"] == kept | {"pinned": "true", "temperature": "0.5"})


async def tunes(reader: Reader, marker: str, value: str) -> None:
    """Set one thing of how the open chat is answered."""
    reader.clicks("tune")
    await reader.sees_marked("save-tuning")
    reader.find(marker=marker).type(value)
    reader.submits("tuning")


async def test_what_a_model_thinks_is_folded_away_from_what_it_says(reader: Reader, api: StandIn) -> None:
    api.behaviour.reasoning = "The reader greets me."
    await reader.open("/")
    await ask(reader, "Hello")
    await until(lambda: "I am a stand-in." in reader.answer())
    await reader.sees_marked("reasoning")
    await reader.sees("Thoughts")
    with reader:
        (folded,) = reader.find(marker="reasoning").elements
    assert folded.tag == "details" and "open" not in folded.props
    assert "The reader greets me." in reader.answer()
    await reader.open(f"/c/{next(iter(api.conversations))}")
    await until(lambda: "I am a stand-in." in reader.answer())
    assert reader.texts("bubble") == ["Hello"]
    await reader.sees("Thoughts")  # they are stored
    reader.clicks("again-1")  # the answers to one question are versions, though a thought stands before each
    await until(lambda: reader.texts("pager-place") == ["2/2"])
