"""Stored messages and a known answer make one conversation, whatever has been stored already."""

import time

from ui.api.schema import Message, Part
from ui.api.stream import Delta, Finished, Question
from ui.state.generation import Answer
from ui.state.thread import Turn, branch_point, turns


def message(id_: str, role: str, text: str, parent: str | None = None, **extra: object) -> Message:
    return Message(id=id_, role=role, content=[Part(type="text", text=text)], parent_id=parent, **extra)  # type: ignore[arg-type]


async def answer(text: str, *, running: bool) -> Answer:
    made = Answer(Question("conv_1", "Q", "guide"))
    made.take(Delta(text))
    if not running:
        made.take(Finished("stop"))
        made.close("done")
    return made


def shown(made: list[Turn]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in made]


BOTH = [("user", "Q"), ("assistant", "A")]


async def test_a_running_answer_shows_whether_its_question_is_stored_or_not() -> None:
    running = await answer("A", running=True)
    assert shown(turns([], running)) == BOTH
    assert shown(turns([message("1", "user", "Q")], running)) == BOTH


async def test_a_reply_that_is_stored_in_this_moment_does_not_show_twice() -> None:
    running = await answer("A", running=True)
    stored = [message("1", "user", "Q"), message("2", "assistant", "A", created_at=time.time())]
    assert shown(turns(stored, running)) == BOTH


async def test_the_same_question_asked_again_shows_both_times() -> None:
    running = await answer("A", running=True)
    stored = [message("1", "user", "Q"), message("2", "assistant", "A", created_at=time.time() - 60)]
    assert shown(turns(stored, running)) == [*BOTH, *BOTH]


async def test_a_finished_answer_lends_its_figures_to_the_stored_one() -> None:
    finished = await answer("A", running=False)
    made = turns([message("1", "user", "Q"), message("2", "assistant", "A")], finished)
    assert shown(made) == BOTH and made[1].answer is finished


async def test_a_finished_answer_that_was_never_stored_is_not_lost() -> None:
    finished = await answer("A", running=False)
    assert shown(turns([], finished)) == BOTH
    assert shown(turns([message("1", "user", "Q")], finished)) == BOTH


def test_only_the_newest_branch_shows() -> None:
    stored = [
        message("1", "user", "Q"),
        message("2", "assistant", "half", "1", status="incomplete"),
        message("3", "user", "Q2", "2"),
        message("4", "user", "Q2 again", "2"),
        message("5", "assistant", "A", "4"),
    ]
    assert [turn.text for turn in turns(stored, None)] == ["Q", "half", "Q2 again", "A"]


def test_without_parents_all_shows_and_a_repeated_question_shows_once() -> None:
    stored = [message("1", "user", "Q"), message("2", "user", "Q"), message("3", "assistant", "A")]
    assert shown(turns(stored, None)) == BOTH


def test_a_loop_of_parents_ends() -> None:
    assert len(turns([message("1", "user", "Q", "2"), message("2", "assistant", "A", "1")], None)) == 2


def test_a_retry_branches_off_before_its_own_first_try() -> None:
    first = message("7", "user", "Q", "6")
    assert branch_point([first, message("6", "assistant", "before")], "Q") == "6"
    assert branch_point([message("8", "assistant", "half", "7"), first], "Q") == "6"
    thought = message("9", "", "hm", "7", type="reasoning")
    assert branch_point([message("8", "assistant", "half", "9"), thought, first], "Q") == "6"
    assert branch_point([message("5", "user", "another")], "Q") is None
    assert branch_point([], "Q") is None
