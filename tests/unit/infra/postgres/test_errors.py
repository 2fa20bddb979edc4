"""Every error of the database's driver has a translation, and none carries content."""

import logging
import traceback
from collections.abc import Iterator

import asyncpg
import pytest

from deployments.errors import BadRequest, ChatLLMError, Conflict, HistoryUnavailable, NotFound
from deployments.infra.postgres.errors import translated, translation


def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


ROOTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
KINDS = sorted({kind for root in ROOTS for kind in below(root)} | set(ROOTS[1:]), key=lambda kind: kind.__name__)


def test_the_walk_sees_the_whole_tree() -> None:
    assert len(KINDS) > 200


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_driver_is_translated(kind: type[BaseException]) -> None:
    assert translation(kind) is not None, f"{kind.__name__} stands in none of the lists of infra/postgres/errors.py"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (asyncpg.TooManyConnectionsError, HistoryUnavailable),
        (asyncpg.QueryCanceledError, HistoryUnavailable),
        (asyncpg.CannotConnectNowError, HistoryUnavailable),
        (asyncpg.ConnectionDoesNotExistError, HistoryUnavailable),
        (asyncpg.DiskFullError, HistoryUnavailable),
        (asyncpg.DeadlockDetectedError, HistoryUnavailable),
        (asyncpg.ReadOnlySQLTransactionError, HistoryUnavailable),
        (asyncpg.UndefinedTableError, HistoryUnavailable),
        (asyncpg.InvalidPasswordError, HistoryUnavailable),
        (asyncpg.InterfaceError, HistoryUnavailable),
        (asyncpg.ForeignKeyViolationError, Conflict),
        (asyncpg.UniqueViolationError, Conflict),
        (asyncpg.UntranslatableCharacterError, BadRequest),
        (asyncpg.StatementTooComplexError, BadRequest),
        (asyncpg.PostgresSyntaxError, ChatLLMError),
        (ConnectionRefusedError, HistoryUnavailable),
        (FileNotFoundError, HistoryUnavailable),
        (TimeoutError, HistoryUnavailable),
    ],
)
def test_an_error_becomes_its_kind(kind: type[Exception], expected: type[ChatLLMError]) -> None:
    with pytest.raises(ChatLLMError) as caught, translated():
        raise kind("secret words")

    assert type(caught.value) is expected
    assert (caught.value.retry_after_s is not None) == (expected is HistoryUnavailable)


def test_what_the_driver_quotes_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ChatLLMError) as caught, translated():
        raise asyncpg.PostgresSyntaxError("secret words")

    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr([r.__dict__ for r in caplog.records])
    assert "secret words" not in shown.replace('raise asyncpg.PostgresSyntaxError("secret words")', "")
    assert "PostgresSyntaxError" in repr(caplog.records[0].__dict__)


def test_other_errors_pass() -> None:
    with pytest.raises(NotFound), translated():
        raise NotFound
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError
