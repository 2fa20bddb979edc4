"""One fault is nobody else's: watchers are called each on its own, and tasks end with their owner."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from tests.ui.conftest import page_for, until
from tests.ui.stand_in import KEY, StandIn
from ui.api.client import Api
from ui.api.readiness import Readiness
from ui.api.stream import Event, Finished, Question
from ui.auth.sessions import Begun, Reason, Session, Sessions
from ui.settings import ApiKey, Settings
from ui.state import tasks
from ui.state.deletions import Deletions
from ui.state.generation import Answer, Generations
from ui.state.tasks import Tasks, close_each, forever
from ui.state.watchers import Watchers


class Brief:
    """A service that has nothing to say."""

    async def ask(self, question: Question) -> AsyncGenerator[Event]:
        yield Finished("stop")

    async def take_up(self, response_id: str) -> AsyncGenerator[Event]:
        yield Finished("stop")

    async def cancel(self, response_id: str) -> None:
        raise AssertionError


class StandInAccount:
    """An account that notes when it is closed."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.is_closed = fault, False

    async def aclose(self) -> None:
        self.is_closed = True
        if self.fault is not None:
            raise self.fault


class StandInSignOut:
    """A service that notes which sessions end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def end_session(self, token: str) -> None:
        self.ended.append(token)


def fails(*_: object) -> None:
    raise RuntimeError("a secret that no log may hold")


def test_a_watcher_that_fails_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    watchers, called = Watchers[[str]]("weather"), list[str]()
    watchers.add(lambda said: called.append(f"1 {said}"))
    watchers.add(fails)
    watchers.add(lambda said: called.append(f"2 {said}"))
    watchers.notify("rain")
    assert sorted(called) == ["1 rain", "2 rain"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a watcher of weather failed: RuntimeError at " in record.message and " fails" in record.message
    assert "secret" not in record.message


def test_who_stops_watching_meanwhile_is_not_called() -> None:
    watchers, called = Watchers[[]]("weather"), list[int]()

    def watch() -> None:
        called.append(1)
        for stop in stops:
            stop()

    stops = [watchers.add(lambda: watch()) for _ in range(3)]
    watchers.notify()
    assert called == [1] and len(watchers) == 0


async def test_readiness_goes_on_polling_and_tells_the_others(api: StandIn, api_url: str) -> None:
    client = Api(Settings(api_url, ApiKey(KEY)))
    readiness, seen = Readiness(client), list[str]()
    for watcher in (fails, lambda: seen.append(readiness.of("guide").phase), fails):
        readiness.watch(watcher)
    polling = asyncio.create_task(readiness.poll_forever())
    try:
        await until(lambda: seen == ["ready"])
        api.behaviour.models = {"guide": "loading"}
        readiness.doubt()
        await until(lambda: seen[-1] == "loading")
        assert not polling.done()
    finally:
        polling.cancel()
        await client.aclose()


async def test_everybody_learns_of_an_answers_beginning_and_end() -> None:
    generations, seen = Generations(), list[str]()

    def watch(answer: Answer) -> None:
        seen.append(answer.state)

    for watcher in (fails, watch, fails):
        generations.watch(watcher)
    generations.start(Brief(), Question("conv_1", "Q", "guide"))
    await until(lambda: len(seen) == 2)
    assert seen == ["waiting", "done"] and not generations.is_running("conv_1")


async def test_a_session_ends_for_all_its_pages_and_its_account_is_closed() -> None:
    ended, told = list[Session](), list[Reason]()

    def end(session: Session) -> None:
        ended.append(session)
        raise RuntimeError

    service, account = StandInSignOut(), StandInAccount()
    sessions = Sessions(end, lambda _: account, service)  # type: ignore[arg-type,return-value]
    session = sessions.admit(Begun("st-1", "key_1", "Reader"), is_secure=False)
    for watcher in (fails, told.append, fails):
        session.watch(watcher)
    session.sign_out()
    await until(lambda: account.is_closed)
    assert told == ["out"] and ended == [session] and service.ended == ["st-1"]
    await sessions.aclose()


async def test_an_account_that_cannot_be_closed_keeps_no_other_open() -> None:
    accounts = [StandInAccount(RuntimeError()), StandInAccount()]
    made = iter(accounts)
    sessions = Sessions(lambda _: None, lambda _: next(made), StandInSignOut())  # type: ignore[arg-type,return-value]
    for number in range(len(accounts)):
        sessions.admit(Begun(f"st-{number}", f"key_{number}", "Reader"), is_secure=False)
    await sessions.aclose()
    assert [account.is_closed for account in accounts] == [True, True]


async def test_what_runs_for_ever_begins_again_where_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "RESTART_S", 0.01)
    begun = list[int]()

    async def work() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise RuntimeError
        await asyncio.Event().wait()

    owner = Tasks()
    running = owner.start(forever(work, "sweeping"), "sweep")
    await until(lambda: len(begun) == 3)
    await owner.aclose()
    assert running.cancelled() and len(owner) == 0
    assert [record.message.partition(":")[0] for record in caplog.records] == ["sweeping failed and begins again"] * 2


async def test_a_task_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise RuntimeError

    owner = Tasks()
    owner.start(work(), "naming")
    await owner.settled()
    await asyncio.sleep(0)
    assert "the task 'naming' failed: RuntimeError" in caplog.text


async def test_the_process_closes_the_rest_where_one_part_cannot_be_closed() -> None:
    parts = [StandInAccount(RuntimeError()), StandInAccount()]
    await close_each(*(part.aclose for part in parts))
    assert all(part.is_closed for part in parts)


async def test_the_process_ends_its_own_tasks(api_url: str) -> None:
    def own() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks()} & {"poll /ready", "sweep sessions"}

    async with page_for(Settings(api_url, ApiKey(KEY))):
        await until(lambda: own() == {"poll /ready", "sweep sessions"})
    assert not own()


async def test_a_deletion_that_fails_at_the_end_keeps_no_other() -> None:
    asked = list[str]()

    class Deleting(Api):
        async def delete(self, conversation_id: str) -> None:
            asked.append(conversation_id)
            if conversation_id == "conv_1":
                raise RuntimeError

    deletions = Deletions(api := Deleting(Settings("http://127.0.0.1:9", ApiKey(KEY))))
    deletions.schedule("conv_1", fails)
    deletions.schedule("conv_2", fails)
    await deletions.aclose()
    await api.aclose()
    assert asked == ["conv_1", "conv_2"]
