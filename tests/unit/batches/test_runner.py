"""A replica's work on batches, from its beginning to its end."""

import asyncio

from deployments.batches.memory import MemoryBatches
from deployments.batches.runner import BatchRunner
from deployments.batches.types import Batch, BatchFigures, ClaimedLine, LineAnswer
from deployments.config import BatchSettings
from deployments.files.memory import MemoryFiles
from deployments.files.types import StoredFile
from deployments.files.writing import FileWriter

LINE = b'{"custom_id": "%d", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}}\n'


class Door:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = asyncio.Event()

    async def answer(self, line: ClaimedLine) -> LineAnswer:
        self.asked += 1
        await self.let.wait()
        return LineAnswer(200, "req_1", b"{}")

    def line_ended(self, outcome: str) -> None: ...

    def lines_running(self, number: int) -> None: ...

    def batches_open(self, figures: BatchFigures) -> None: ...


async def test_a_replica_that_retires_ends_what_it_has_and_takes_nothing_new() -> None:
    files, door = MemoryFiles(), Door()
    store = MemoryBatches(files)
    writer = FileWriter(files, StoredFile("ann", "in.jsonl", "batch"))
    await writer.begin()
    await writer.write(b"".join(LINE % at for at in range(5)))
    await writer.flush()
    await files.finish(writer.file)
    runner = BatchRunner(store, files, BatchSettings(), 1, lambda: 2, lambda model: True, door)
    await runner.open(door)
    batch = Batch("ann", "key_1", "/v1/embeddings", writer.file.id)
    await store.create(batch, None)
    runner.wake()
    async with asyncio.timeout(10):
        while door.asked < 2:
            await asyncio.sleep(0.01)
        runner.retire()
        await store.create(Batch("ann", "key_1", "/v1/embeddings", writer.file.id), None)
        door.let.set()
        while (await store.batch("ann", batch.id)).completed < 2:
            await asyncio.sleep(0.01)
        await runner.aclose(1)
    assert (door.asked, (await store.batch("ann", batch.id)).completed) == (2, 2)
    assert [each.batch.status for each in (await store.open_batches(None, 9)).data] == ["in_progress", "validating"]
    assert [line.number for line in await store.claim("another", 9, 60, ())] == [3, 4, 5]
