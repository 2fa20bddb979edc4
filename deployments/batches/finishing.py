"""Writes the output files of a batch whose lines have their outcomes."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from deployments.batches.outcomes import unanswered
from deployments.batches.store import BatchStore
from deployments.batches.types import Batch
from deployments.errors import ChatLLMError
from deployments.files.store import FileStore
from deployments.files.types import StoredFile
from deployments.files.writing import FileWriter

PAGE_LINES = 500
PAGE_BYTES = 4_194_304


async def finish(
    batch: Batch, store: BatchStore, files: FileStore, expires_at: Callable[[], datetime], lease_s: float
) -> bool:
    """Write the files of a batch that this replica has taken, and end it; False: another replica has it by now.

    The files are seen with the end of the batch. Whoever finishes it after a crash writes others: those of the lost
    replica are swept.
    """
    if not await store.close_lines(batch, lease_s):
        return False
    if batch.output_ttl_s is not None:
        until = datetime.now(UTC) + timedelta(seconds=batch.output_ttl_s)
    else:
        until = expires_at()
    output = _Output(files, StoredFile(batch.tenant, f"{batch.id}_output.jsonl", "batch_output", until))
    errors = _Output(files, StoredFile(batch.tenant, f"{batch.id}_error.jsonl", "batch_output", until))
    is_done = False
    try:
        is_done = await _write(batch, store, output, errors, lease_s) and await store.finish(
            batch, await output.close(), await errors.close()
        )
    finally:
        if not is_done:
            await output.discard()
            await errors.discard()
    return is_done


async def _write(batch: Batch, store: BatchStore, output: "_Output", errors: "_Output", lease_s: float) -> bool:
    after = 0
    while lines := await store.done_lines(batch, after, PAGE_LINES, PAGE_BYTES):
        for line in lines:
            if line.text is None:
                await errors.write(unanswered(batch, line))
            else:
                await (errors if line.is_error else output).write(line.text)
        after = lines[-1].number
        if not await store.renew_batch(batch, lease_s):
            return False
    return True


class _Output:
    """A file that is begun with its first line."""

    def __init__(self, files: FileStore, file: StoredFile) -> None:
        self._files = files
        self._writer = FileWriter(files, file)
        self._has_begun = False

    async def write(self, text: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._writer.begin()
        await self._writer.write(text)

    async def close(self) -> StoredFile | None:
        """Return the file, which nobody sees yet; None where nothing was written."""
        if not self._has_begun:
            return None
        await self._writer.flush()
        return self._writer.file

    async def discard(self) -> None:
        """Delete the file unless it is visible: a batch may have ended though its store's reply was lost."""
        if self._has_begun:
            with suppress(ChatLLMError):
                await self._files.discard(self._writer.file.tenant, self._writer.file.id)
