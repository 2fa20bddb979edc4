"""During a rollout, an earlier version and this one serve from one database: each reads what the other has written."""

import asyncio
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EARLIER = "e84c39a60ca8681661360f05a256939506b5070c"
"""The last commit before each model had an application of its own."""
PROGRAM = """
import asyncio, json, sys
from datetime import UTC, date, datetime
from pydantic import SecretStr
from deployments.config import HistorySettings
from deployments.history.postgres import PostgresHistory
from deployments.history.types import NewItem
from deployments.infra.postgres.database import Database
from deployments.keys.postgres import PostgresKeys
from deployments.keys.types import hash_of
from deployments.responses.postgres import PostgresResponses
from deployments.responses.types import NewResponse
from deployments.usage.postgres import PostgresUsage
from deployments.usage.types import Place, Used


async def write(database, who):
    key, secret = await PostgresKeys(database).create(who, {"requests_per_minute": 60})
    history = PostgresHistory(database)
    made = await history.create_conversation(key.id, {"by": who}, [NewItem.message("user", f"hello from {who}")])
    item = (await history.items(key.id, made.id)).data[0].id
    new = NewResponse(f"resp_{who}", key.id, key.id, made.id, False, None, {"model": "m"}, datetime.now(UTC),
                      [NewItem.message("user", "and?").after(item)], parent_id=item)
    await PostgresResponses(database).begin(new)
    sums = {Place(key.id, date(2026, 11, 27), "m"): Used(requests=1, prompt_tokens=7)}
    await PostgresUsage(database).add(f"batch {who}", sums)
    return {"secret": secret, "key": key.id, "conversation": made.id, "response": new.id}


async def read(database, of):
    key = await PostgresKeys(database).find(hash_of(of["secret"]))
    history = PostgresHistory(database)
    await history.append(of["key"], of["conversation"], [NewItem.message("user", "more")])
    await history.update_conversation(of["key"], of["conversation"], {"mood": "seen"})
    found = await history.conversation(of["key"], of["conversation"])
    items = (await history.items(of["key"], of["conversation"], order="asc")).data
    response = await PostgresResponses(database).response(of["key"], of["response"])
    return {
        "limit": key.limits.requests_per_minute,
        "metadata": found.metadata,
        "texts": [item.payload["content"][0]["text"] for item in items],
        "status": response.status,
        "tokens": await PostgresUsage(database).tokens(of["key"], date(2026, 11, 1)),
        "found": len((await history.search(of["key"], "hello")).data),
    }


async def main():
    database = Database(SecretStr(sys.argv[1]), HistorySettings())
    await database.open()
    print(json.dumps("open"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, argument = json.loads(line)
        print(json.dumps(await {"write": write, "read": read}[what](database, argument)), flush=True)
    await database.close()


asyncio.run(main())
"""


class Version:
    """A process with the stores of one version."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, what: str, argument: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([what, argument])}\n".encode())
        return await self.line()

    async def line(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, "it has ended; see its traceback"
        return json.loads(line)


@asynccontextmanager
async def version(code: Path, url: str) -> AsyncGenerator[Version]:
    """Run the stores of the code in a folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, cwd=code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        running = Version(process)
        assert await running.line() == "open"
        yield running
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder with the code of the earlier version."""
    made = subprocess.run(["git", "archive", EARLIER, "deployments"], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs the repository's history")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


async def test_the_version_before_and_this_one_share_a_database(earlier: Path, database_url: str) -> None:
    async with version(earlier, database_url) as old:
        of_the_old = await old.do("write", "old")
        async with version(ROOT, database_url) as new:  # it migrates the database while the other one serves
            of_the_new = await new.do("write", "new")
            by_the_new = await new.do("read", of_the_old)
            by_the_old = await old.do("read", of_the_new)
            again = await old.do("write", "old, after the migration")
            assert (await new.do("read", again))["texts"][0] == "hello from old, after the migration"
    expected = {"limit": 60, "metadata": {"mood": "seen"}, "status": "in_progress", "tokens": 7, "found": 1}
    assert by_the_new == {**expected, "texts": ["hello from old", "and?", "more"]}
    assert by_the_old == {**expected, "texts": ["hello from new", "and?", "more"]}
    async with version(earlier, database_url) as restarted:  # as after a rollback
        assert (await restarted.do("read", of_the_new))["texts"][-1] == "more"
