"""What each tenant stores is counted by Postgres itself, whoever writes or deletes."""

from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from deployments.history.postgres import PostgresHistory
from deployments.history.stored.postgres import PostgresCompletions
from deployments.history.stored.store import NewCompletion
from deployments.history.types import ROOT, NewItem, new_id
from deployments.infra.postgres.database import Database
from deployments.infra.postgres.schema import FOLDER, migrate
from deployments.responses.postgres import PostgresResponses
from deployments.responses.types import Ending, NewResponse

ANN, BOB = "ann", "bob"


@pytest.fixture
def history(database: Database) -> PostgresHistory:
    return PostgresHistory(database)


async def test_conversations_count_and_what_is_deleted_does_not(history: PostgresHistory) -> None:
    one, two = [(await history.create_conversation(ANN, {})).id for _ in range(2)]
    assert await history.stored_bytes(ANN) == 0
    item = NewItem.message("user", "x" * 1000)
    await history.append(ANN, one, [item, NewItem.message("user", "y" * 1000)])
    await history.append(ANN, one, [item])  # again: nothing is added
    await history.append(ANN, two, [NewItem.message("user", "z" * 1000)])
    assert 3000 < await history.stored_bytes(ANN) < 3700
    assert await history.stored_bytes(BOB) == 0

    await history.delete_item(ANN, one, item.id)
    assert 2000 < await history.stored_bytes(ANN) < 2500
    await history.delete_conversation(ANN, one)
    assert 1000 < await history.stored_bytes(ANN) < 1250
    await history.delete_conversation(ANN, two)
    assert await history.stored_bytes(ANN) == 0


async def test_responses_and_stored_completions_count(history: PostgresHistory, database: Database) -> None:
    responses, completions = PostgresResponses(database), PostgresCompletions(database)
    asked = NewItem.message("user", "x" * 1000).after(ROOT)
    request = {"model": "quick", "instructions": "y" * 1000}
    new = NewResponse(new_id("resp"), ANN, "key_1", new_id("conv"), True, None, request, datetime.now(UTC), [asked])
    await responses.begin(new)
    answer = NewItem.message("assistant", "z" * 1000).after(asked.id)
    ending = Ending("completed", [answer], datetime.now(UTC), answered_by="another")  # which its request notes
    await responses.end(ANN, new.id, None, ending)
    assert 3000 < await history.stored_bytes(ANN) < 3700
    kept = NewCompletion.of({"id": "chatcmpl-1"}, [{"role": "user", "content": "x" * 1000}], {})
    await completions.append(ANN, kept.id, [kept])
    await completions.append(ANN, kept.id, [kept])
    assert 4000 < await history.stored_bytes(ANN) < 4800

    await completions.delete(ANN, kept.id)
    await responses.delete(ANN, new.id)  # with its hidden conversation
    assert await history.stored_bytes(ANN) == 0


async def test_what_was_stored_before_the_migration_counts(database_url: str, tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    for file in sorted(FOLDER.glob("*.sql")):
        if file.name < "0010":
            (before / file.name).write_text(file.read_text("utf-8"), "utf-8")
    connection = await asyncpg.connect(database_url)
    await migrate(connection, before)
    await connection.execute("INSERT INTO conversations (id, tenant) VALUES ('conv_1', 'ann'), ('conv_2', 'ann')")
    await connection.execute(
        "INSERT INTO items (conversation_id, id, type, status, payload, size_bytes) VALUES "
        "('conv_1', 'a', 'message', 'completed', '{}', 100), ('conv_1', 'b', 'message', 'completed', '{}', 20), "
        "('conv_2', 'c', 'message', 'completed', '{}', 3)"
    )
    await migrate(connection)
    assert await connection.fetchval("SELECT sum(bytes) FROM storage WHERE tenant = 'ann'") == 123
    await connection.execute("DELETE FROM conversations WHERE id = 'conv_1'")
    assert await connection.fetchval("SELECT sum(bytes) FROM storage WHERE tenant = 'ann'") == 3
    await connection.close()
