"""`chatllm keys` and `chatllm usage` on a real Postgres."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import typer
from click.testing import Result
from pydantic import SecretStr
from typer.testing import CliRunner

from deployments.config import HistorySettings
from deployments.infra.postgres.database import Database
from deployments.keys.postgres import PostgresKeys
from deployments.keys.types import ANY_NUMBER, Key, KeyLimits, hash_of
from deployments.local.cli import app
from deployments.local.cli.keys import at_once, moment
from deployments.local.state import LauncherError
from deployments.usage.postgres import PostgresUsage
from deployments.usage.types import Place, Used

Run = Callable[..., str]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line on an empty database and return what it printed."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> str:
        result: Result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def found(url: str, secret: str) -> Key:
    async def find() -> Key | None:
        database = Database(SecretStr(url), HistorySettings())
        await database.open()
        try:
            return await PostgresKeys(database).find(hash_of(secret))
        finally:
            await database.close()

    key = asyncio.run(find())
    assert key is not None
    return key


def test_a_key_lives_through_all_its_states(run: Run, database_url: str) -> None:
    secret = run("keys", "create", "robot", "--admin", "--expires", "30d", "--rpm", "60", "--monthly-tokens", "1000")
    secret = secret.strip()
    key = found(database_url, secret)
    assert (key.is_admin, key.limits) == (True, KeyLimits(60, None, None, 1000))
    assert key.expires_at is not None
    assert abs(key.expires_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    listed = run("keys", "list")
    assert secret not in listed
    for words in (key.id, "valid", "admin", "60 rpm, 1000 tokens a month", f"{key.expires_at:%Y-%m-%d}"):
        assert words in listed

    changed = ("--name", "android", "--no-admin", "--expires", "never", "--rpm", "0", "--tpm", "5", "--concurrent", "2")
    run("keys", "update", "robot", *changed)
    key = found(database_url, secret)
    assert (key.name, key.is_admin, key.expires_at) == ("android", False, None)
    assert key.limits == KeyLimits(None, 5, 2, 1000)
    assert "any number at once" in run("keys", "update", "android", "--concurrent", "0")
    assert found(database_url, secret).limits.concurrent_requests == ANY_NUMBER
    run("keys", "update", "android", "--concurrent", "default")
    assert found(database_url, secret).limits.concurrent_requests is None
    assert "5000000 bytes stored" in run("keys", "update", "android", "--storage-mb", "5")
    assert found(database_url, secret).limits.storage_bytes == 5_000_000
    run("keys", "update", "android", "--storage-mb", "0")
    assert found(database_url, secret).limits.storage_bytes is None

    batching = ("--open-batches", "3", "--batch-lines", "400", "--files-mb", "6")
    shown = run("keys", "update", "android", *batching)
    assert "3 open batches, 400 lines a batch, 6000000 bytes of files" in shown
    run("keys", "update", "android", "--open-batches", "0", "--files-mb", "0")
    assert found(database_url, secret).limits == KeyLimits(None, 5, None, 1000, batch_lines=400)

    assert "disabled" in run("keys", "disable", "android")
    assert found(database_url, secret).state == "disabled"
    assert "valid" in run("keys", "enable", "android")
    assert "Revoked" in run("keys", "revoke", "android")
    with pytest.raises(LauncherError, match="android"):
        run("keys", "enable", "android")


def test_usage_is_told_by_day_key_and_model(run: Run, database_url: str) -> None:
    key = found(database_url, run("keys", "create", "robot").strip())
    today = datetime.now(UTC).date()

    async def use() -> None:
        database = Database(SecretStr(database_url), HistorySettings())
        await database.open()
        used = {Place(key.id, today, "guide"): Used(3, 1, 20, 10, 5), Place("key_gone", today, ""): Used(1, 1)}
        used[Place(key.id, today - timedelta(days=40), "guide")] = Used(9)
        await PostgresUsage(database).add("batch_1", used)
        await database.close()

    assert run("usage") == ""
    asyncio.run(use())
    head, *lines = run("usage").splitlines()
    assert head.split() == ["day", "key", "model", "requests", "errors", "prompt", "completion", "cached"]
    assert sorted(line.split() for line in lines) == sorted(
        [
            [str(today), "robot", "guide", "3", "1", "20", "10", "5"],
            [str(today), "key_gone", "-", "1", "1", "0", "0", "0"],
        ]
    )
    assert [row["requests"] for row in json.loads(run("usage", "robot", "--json"))] == [3]
    assert [row["requests"] for row in json.loads(run("usage", key.id, "--days", "60", "--json"))] == [9, 3]
    with pytest.raises(LauncherError):
        run("usage", "nobody")


@pytest.mark.parametrize("text", ["", "30", "-1d", "1w", "2027-13-01", "9999999d", "soon"])
def test_an_expiry_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


@pytest.mark.parametrize("text", ["", "-1", "many", "1.5", str(2**49)])
def test_a_number_at_once_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        at_once(text)


def test_an_expiry_is_a_time_from_now_or_a_day() -> None:
    assert moment("never") is None
    assert moment("2027-01-31") == datetime(2027, 1, 31, tzinfo=UTC)
    ninety = moment("90m")
    assert ninety is not None and abs(ninety - datetime.now(UTC) - timedelta(minutes=90)) < timedelta(seconds=5)
