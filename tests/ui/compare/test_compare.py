"""Stories of one prompt and two answers side by side: asked, stopped, kept, and found again."""

from collections.abc import Callable

from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.stand_in import KEY, StandIn
from ui.settings import ApiKey, Settings

TWO = {"guide": "ready", "larger": "ready"}


async def compare(reader: Reader, text: str, path: str = "/compare") -> None:
    """Open the page and send a prompt once it is ready for it."""
    await reader.open(path)
    await until(lambda: not reader.texts("status-title"))
    reader.writes(text)


def sides(reader: Reader) -> list[str]:
    """Return the text of both answers."""
    found: list[str] = []
    with reader:
        for body in (e for e in reader._client.elements.values() if "side-body" in e.classes):
            pieces = [e for e in body.descendants() if "piece" in e.classes]
            found.append("".join(str(piece.props.get("innerHTML", "")) for piece in pieces))
    return found


def all_say(reader: Reader, words: str) -> Callable[[], bool]:
    return lambda: [words in side for side in sides(reader)] == [True, True]


async def test_two_models_answer_one_prompt_side_by_side(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = TWO
    api.behaviour.answer, api.behaviour.hold_after = "Both are written at once.", 2
    await compare(reader, "Who are you?")
    await until(all_say(reader, "Both are"))
    assert api.seen.running == 2 and "once" not in "".join(sides(reader))
    assert reader.texts("bubble") == ["Who are you?"]
    api.go_on.set()
    await until(all_say(reader, "written at once."))
    await until(lambda: len(reader.texts("figures")) == 2)
    assert [said.split(" · ")[-1] for said in reader.texts("figures")] == ["guide", "larger"]
    assert all("5 tokens" in said and "first token after" in said for said in reader.texts("figures"))
    first, second = sorted(api.seen.requests, key=lambda request: request["model"])
    assert [first["model"], second["model"]] == ["guide", "larger"] and first["input"] == second["input"]
    assert first["conversation"] == second["conversation"] and first["parent"] == second["parent"] == ""


async def test_models_are_chosen_for_each_side(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = TWO
    await reader.open("/compare")
    await reader.sees_marked("side-0-picker")
    for place, model in enumerate(("larger", "guide")):
        reader.clicks(f"side-{place}-picker")
        await reader.sees_marked(f"side-{place}-model-{model}")
        reader.clicks(f"side-{place}-model-{model}")
    reader.find(marker="temperature-1").type("0.3")
    reader.writes("Who are you?")
    await until(lambda: api.seen.finished == 2)
    assert {(asked["model"], asked.get("temperature")) for asked in api.seen.requests} == {
        ("larger", None),
        ("guide", 0.3),
    }


async def test_a_single_model_is_compared_with_itself(reader: Reader, api: StandIn) -> None:
    await compare(reader, "Who are you?")
    await reader.sees("Only one model is available")
    await until(lambda: api.seen.finished == 2)
    assert {(asked["model"], asked["temperature"]) for asked in api.seen.requests} == {("guide", 0), ("guide", 1)}


async def test_stop_stops_both(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer, api.behaviour.hold_after = "Kept words, and words that never come.", 2
    await compare(reader, "Talk for ever")
    await until(all_say(reader, "Kept words,"))
    reader.clicks("stop")
    await until(lambda: reader.texts("note") == ["You stopped this answer."] * 2)
    assert api.seen.cancelled == 2 and not api.seen.running
    await reader.sees_marked("send")


async def test_the_answer_that_is_kept_is_gone_on_with_and_the_other_stays_a_branch(page: Page, api: StandIn) -> None:
    api.behaviour.models = TWO
    reader = page.new_reader()
    await compare(reader, "Who are you?")
    await until(lambda: api.seen.finished == 2)
    conversation = next(iter(api.conversations))
    answers = {run.body["model"]: run.output[-1] for run in api.runs.values()}
    for model, answer in answers.items():
        answer["content"][0]["text"] = f"I am {model}."
    await reader.sees_marked("keep-0")
    reader.clicks("keep-0")
    await until(lambda: "I am guide." in reader.answer())
    assert reader.texts("bubble") == ["Who are you?"] and len(reader.texts("pager-place")) == 1
    again = page.new_reader()
    await again.open(f"/c/{conversation}")
    await until(lambda: "I am guide." in again.answer() and not again.texts("status-title"))
    again.writes("Go on")
    await until(lambda: api.seen.finished == 3)
    assert (api.seen.requests[2]["parent"], api.seen.requests[2]["model"]) == (answers["guide"]["id"], "guide")
    await until(lambda: again.texts("bubble") == ["Who are you?", "Go on"])
    last = page.new_reader()
    await last.open(f"/c/{conversation}")  # the newest branch, which is the kept one
    await until(lambda: last.texts("bubble") == ["Who are you?", "Go on"])
    last.clicks("next-1" if last.texts("pager-place") == ["1/2"] else "previous-1")
    await until(lambda: "I am larger." in last.answer() and last.texts("bubble") == ["Who are you?"])


async def test_keeping_one_stops_the_other(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = TWO
    api.behaviour.answer, api.behaviour.hold_after = "Quick words here", 2
    api.behaviour.held_model = "larger"
    await compare(reader, "Who is quicker?")
    await reader.sees_marked("keep-0")
    assert api.seen.running == 1
    reader.clicks("keep-0")
    await until(lambda: "Quick words here" in reader.answer() and reader.texts("pager-place"))
    assert api.seen.cancelled == 1 and not api.seen.running


async def test_one_side_fails_alone_and_is_tried_again_alone(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "ready"}
    await compare(reader, "Hello")
    await until(lambda: len(reader.texts("figures")) == 2)
    api.behaviour.fail_after, api.behaviour.failing_request = 1, 4
    reader.writes("Once more")
    await until(lambda: len(reader.texts("figures")) == 2 and len(reader.texts("error-title")) == 1)
    api.behaviour.fail_after = None
    reader.clicks("retry")
    await until(lambda: api.seen.finished == 4 and not reader.texts("error-title"))
    await until(all_say(reader, "I am a stand-in."))
    assert len(api.conversations) == 2 and len(api.seen.requests) == 5


async def test_a_comparison_goes_on_after_a_restart(api_url: str, api: StandIn) -> None:
    api.behaviour.models = TWO
    api.behaviour.answer, api.behaviour.hold_after = "Begun before the restart, ended after it.", 4
    api.behaviour.held_model = "larger"
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await compare(reader, "Who survives?")
        await until(all_say(reader, "before the restart,"))
        await until(lambda: api.seen.finished == 1 and "compared" in next(iter(api.conversations.values()))["metadata"])
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open(f"/compare/{next(iter(api.conversations))}")
        await until(all_say(reader, "before the restart,"))
        assert reader.texts("bubble") == ["Who survives?"]
        assert ["ended after it." in side for side in sides(reader)] == [True, False]
        api.go_on.set()
        await until(all_say(reader, "ended after it."))
        assert [said.split(" · ")[-1] for said in reader.texts("figures")] == ["guide", "larger"]
    assert len(api.seen.requests) == 2


async def test_a_conversation_without_a_comparison_opens_as_a_chat(reader: Reader, api: StandIn) -> None:
    conversation = api.add_conversation("Plain")
    api.add_message(conversation, "user", "Just a chat")
    await reader.open(f"/compare/{conversation}")
    await until(lambda: reader.texts("bubble") == ["Just a chat"])
    await reader.sees("Plain")


async def test_a_store_that_is_away_is_told_and_the_prompt_can_be_sent_again(reader: Reader, api: StandIn) -> None:
    await reader.open("/compare")
    await until(lambda: not reader.texts("status-title"))
    api.behaviour.history_fails = True
    reader.writes("Do not lose me")
    await until(lambda: len(reader.texts("error-title")) == 2)
    api.behaviour.history_fails = False
    reader.clicks("retry")
    await until(all_say(reader, "I am a stand-in."))
    assert {request["input"][0]["content"] for request in api.seen.requests} == {"Do not lose me"}


async def test_a_closed_comparison_leaves_nothing_behind(page: Page, api: StandIn) -> None:
    reader = page.new_reader()
    client = await reader.open("/compare")
    await until(lambda: not reader.texts("status-title"))
    shared = page.service.shared
    assert shared.generations.watchers == 2 and shared.readiness.watchers == 1
    client.delete()
    assert shared.generations.watchers == 1 and shared.readiness.watchers == 0  # titles wait for all pages
