"""`chatllm users` on a real Postgres."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deployments.infra.postgres.database import Database
from deployments.local import keys
from deployments.local.cli import app
from deployments.local.state import LauncherError
from deployments.usage.postgres import PostgresUsage
from deployments.usage.types import Place, Used

Run = Callable[..., str]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line on an empty database and return what it printed."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> str:
        result: Result = CliRunner().invoke(app, ["users", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_a_user_lives_through_all_states(run: Run) -> None:
    first = run("create", "Ann@Example.org", "--name", "Ann Example", "--admin").strip()
    assert len(first) == 16
    for word in ("valid", "ann@example.org", "Ann Example", "admin", "must change the password"):
        assert word in run("list")

    assert "disabled" in run("disable", "ann@example.org")
    assert "valid" in run("enable", "ann@example.org")
    changed = run("update", "ann@example.org", "--username", "ann", "--name", "Ann", "--no-admin")
    assert "ann  Ann" in changed and "admin" not in changed
    assert run("reset-password", "ann").strip() != first


def test_the_usage_of_users_is_shown_by_their_names(run: Run, database_url: str) -> None:
    run("create", "ann", "--name", "Ann Example")
    user_id = run("list").split()[0]

    async def note(database: Database) -> None:
        used = {Place(user_id, datetime.now(UTC).date(), "guide"): Used(1, 0, 30, 12, 0)}
        await PostgresUsage(database).add("batch-1", used)

    keys.run_on_database(database_url, note)
    for arguments in (["usage"], ["usage", "ann"], ["usage", user_id]):
        shown = CliRunner().invoke(app, arguments, catch_exceptions=False).output
        assert "Ann Example" in shown and "30" in shown


def test_users_are_found_by_their_ids_too_and_nobody_is_said_to_be_nobody(run: Run) -> None:
    run("create", "ann")
    id_ = run("list").split()[0]
    assert id_.startswith("user_")
    assert "disabled" in run("disable", id_)
    with pytest.raises(LauncherError, match="not found"):
        run("disable", "bob")
    with pytest.raises(LauncherError, match="taken"):
        run("create", "ANN")
