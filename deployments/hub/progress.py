"""How far a download is: a bar with speed and remaining time on a terminal, a line now and then elsewhere."""

import threading
import time
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

LINE_EVERY_S = 5.0


class Transfer(Protocol):
    """One download of several files. Every method may be called from any thread."""

    def begin(self, total: int, done: int) -> None:
        """Note that `total` bytes are needed, of which `done` are there already."""
        ...

    def advance(self, count: int) -> None:
        """Note that `count` bytes more have arrived; a negative number takes bytes back."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


class TerminalTransfer:
    """A bar that moves."""

    def __init__(self, name: str, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(name, total=None)

    def begin(self, total: int, done: int) -> None:
        """See `Transfer`."""
        # A new start, so that what was there does not count as speed.
        self._progress.reset(self._task, total=total, completed=done)

    def advance(self, count: int) -> None:
        """See `Transfer`."""
        self._progress.advance(self._task, count)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()


class PlainTransfer:
    """A line every few seconds: for logs and pipes."""

    def __init__(self, name: str, output: TextIO, every_s: float = LINE_EVERY_S) -> None:
        self._name, self._output, self._every_s = name, output, every_s
        self._lock = threading.Lock()
        self._total = self._before = self._done = 0
        self._began = self._reported_at = time.monotonic()

    def begin(self, total: int, done: int) -> None:
        """See `Transfer`."""
        self._total, self._before, self._done = total, done, done
        self._began = self._reported_at = time.monotonic()
        there = f", {decimal(done)} of them are here" if done else ""
        self._say(f"{decimal(total)}{there}")

    def advance(self, count: int) -> None:
        """See `Transfer`."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported_at >= self._every_s:
                self._reported_at = now
                self._say(self._line(now))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._done > self._before:
            self._say(self._line(time.monotonic()))

    def _line(self, now: float) -> str:
        speed = max(0.0, self._done - self._before) / max(now - self._began, 0.001)
        left = f", {(self._total - self._done) / speed:.0f} s left" if speed and self._done < self._total else ""
        share = 100 * self._done // max(1, self._total)
        return f"{share} %, {decimal(self._done)} of {decimal(self._total)}, {decimal(int(speed))}/s{left}"

    def _say(self, text: str) -> None:
        self._output.write(f"{self._name}: {text}\n")
        self._output.flush()


def transfer_for(name: str, output: TextIO) -> Transfer:
    """Return what fits the output."""
    return TerminalTransfer(name, Console(file=output)) if output.isatty() else PlainTransfer(name, output)
