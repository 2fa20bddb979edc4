"""Reads a PDF file from standard input and writes one word, and its text if that is `text`; run by `pdf`.

The kernel enforces its limits: a file that exceeds them ends this process, not the page's.
Imports nothing of this project.
"""

import io
import logging
import resource
import sys

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, WrongPasswordError

MAX_MEMORY_BYTES = 768 * 1024 * 1024
MAX_CPU_S = 15
MAX_PAGES = 300
MAX_CHARS = 256 * 1024
CUT = "[The file goes on; this is its beginning.]"


def main() -> None:
    """Answer with `text` and the text, or with `encrypted`, `scanned` (there is no text in it) or `broken`."""
    for bound, value in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(bound, (value, value))
    logging.disable()  # what pypdf has to say of a file
    content = sys.stdin.buffer.read()
    sys.stdout.buffer.write(answer(content).encode(errors="replace"))


def answer(content: bytes) -> str:
    """Return the line to write."""
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            return "encrypted"
        text = _text(reader)
    except (FileNotDecryptedError, WrongPasswordError, DependencyError):
        return "encrypted"
    except MemoryError:
        return "too much"
    except Exception:  # noqa: BLE001 - the boundary to pypdf: hostile files find errors that it does not declare
        return "broken"
    return f"text\n{text}" if text.strip() else "scanned"


def _text(reader: PdfReader) -> str:
    pages: list[str] = []
    left = MAX_CHARS
    for number, page in enumerate(reader.pages):
        if number >= MAX_PAGES or left <= 0:
            pages.append(CUT)
            break
        pages.append(page.extract_text().strip()[:left])
        left -= len(pages[-1])
    return "\n\n".join(filter(None, pages))


if __name__ == "__main__":
    main()
