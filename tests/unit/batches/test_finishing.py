"""The end of a batch, also where nobody hears of it."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.batches.finishing import finish
from deployments.batches.memory import MemoryBatches
from deployments.batches.types import Batch, NewLine, Outcome
from deployments.errors import HistoryUnavailable
from deployments.files.memory import MemoryFiles
from deployments.files.types import StoredFile
from deployments.files.writing import content_of

ANN = "ann"


class Unheard(MemoryBatches):
    """A store whose reply to the end of a batch is lost."""

    async def finish(self, batch: Batch, output: StoredFile | None, errors: StoredFile | None) -> bool:
        await super().finish(batch, output, errors)
        raise HistoryUnavailable(retry_after_s=1.0)


async def test_the_output_stays_where_the_reply_to_the_end_is_lost() -> None:
    files = MemoryFiles()
    store = Unheard(files)
    await store.create(batch := Batch(ANN, "key_1", "/v1/embeddings", "file-1"), 1)
    taken = await store.take("one", 60)
    assert taken is not None
    await store.add_lines(taken, [NewLine(1, "a", b"{}")], 60)
    await store.start(taken, 1, None)
    (line,) = await store.claim("one", 1, 60, ())
    await store.settle("one", [Outcome(line.claim, b"answer\n", False)])
    taken = await store.take("one", 60)
    assert taken is not None
    with pytest.raises(HistoryUnavailable):
        await finish(taken, store, files, lambda: datetime.now(UTC) + timedelta(days=1), 60)
    ended = await store.batch(ANN, batch.id)
    assert ended.status == "completed"
    assert ended.output_file_id is not None
    assert [data async for data in content_of(files, ANN, ended.output_file_id)] == [b"answer\n"]
