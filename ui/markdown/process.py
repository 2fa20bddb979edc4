"""Renders untrusted text for `pool`, in a process that the kernel ends if a request takes too long.

Requests and results are JSON, each preceded by its length in four bytes. A thread would not
do: a backtracking regular expression of Pygments holds the GIL until it is done.
"""

import dataclasses
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

import orjson

from ui.markdown.incremental import render_incrementally
from ui.markdown.render import Labels, render

MAX_CPU_S = 1.0  # of one request; an ordinary answer takes a few milliseconds
MAX_MEMORY_BYTES = 1024 * 1024 * 1024
NICENESS = 5


def main() -> None:
    """Answer until there are no more requests."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the page ends this process
    while (request := read(sys.stdin.buffer)) is not None:
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)  # SIGPROF, which is not handled, ends the process
        answer = orjson.dumps(_answer(request))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(len(answer).to_bytes(4) + answer)
        sys.stdout.buffer.flush()


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the next request; None at the end."""
    head = stream.read(4)
    return orjson.loads(stream.read(int.from_bytes(head))) if len(head) == 4 else None


def _answer(request: dict[str, Any]) -> Any:
    text, labels = request["text"], Labels(**request["labels"])
    try:
        if request["kind"] == "grow":
            return dataclasses.asdict(render_incrementally(text, request["finished"], labels))
        return render(text, labels)
    except (MemoryError, RecursionError):
        return None


if __name__ == "__main__":
    main()
