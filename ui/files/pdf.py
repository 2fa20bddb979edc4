"""Text extraction from untrusted PDF files, in a child process with bounded time and memory."""

import asyncio
import sys
from pathlib import Path
from typing import Literal, cast

MAX_PDF_BYTES = 10 * 1024 * 1024
TIMEOUT_S = 20.0
MAX_AT_ONCE = 2
MAX_OF_ALL_AT_ONCE = 4
_PROGRAM = Path(__file__).with_name("pdf_process.py")

Fault = Literal["encrypted", "scanned", "broken", "too much"]


class PdfFault(Exception):
    """No text could be extracted; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault: Fault = fault


class PdfReader:
    """Reads at most `MAX_AT_ONCE` files at once, each for `timeout_s`; the others wait."""

    def __init__(self, places: asyncio.Semaphore | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`places` are those of all readers together."""
        self._places = places or asyncio.Semaphore(MAX_OF_ALL_AT_ONCE)
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def text_of(self, content: bytes) -> str:
        """Return the text of all pages. Raises `PdfFault`; when cancelled, the process is gone too."""
        async with self._turns, self._places:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(_PROGRAM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
            )
            try:
                async with asyncio.timeout(self._timeout_s):
                    output, _ = await process.communicate(content)
            except TimeoutError:
                raise PdfFault("too much") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        word, _, text = output.decode(errors="replace").partition("\n")
        if word == "text":
            return text
        # No output: the process hit one of its limits.
        raise PdfFault(cast(Fault, word) if word in ("encrypted", "scanned", "broken") else "too much")


def is_pdf(content: bytes) -> bool:
    """Whether a file has a PDF header, which may follow some other bytes."""
    return b"%PDF-" in content[:1024]
