"""Named steps with elapsed times: moving on a terminal, plain lines everywhere else."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Tell = Callable[[str], None]
"""Takes how far a step has come; "" where that is not known."""


class Steps(Protocol):
    """Where the launcher tells what it does. Every method may be called from any thread."""

    @contextmanager
    def step(self, name: str) -> Generator[Tell]:
        """Show that `name` is under way while the block runs, then how long it took or that it failed.

        The block may tell how far it has come, as often as it pleases.
        """
        ...

    def say(self, text: str) -> None:
        """Print a line between the steps."""
        ...


class PlainSteps:
    """One line per finished step: for logs, pipes and tests."""

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stdout

    @contextmanager
    def step(self, name: str) -> Generator[Tell]:
        """See `Steps`; how far it has come is told nowhere."""
        began = time.monotonic()
        try:
            yield lambda _: None
        except BaseException:
            self.say(f"{time.monotonic() - began:6.1f} s  {name}: failed")
            raise
        self.say(f"{time.monotonic() - began:6.1f} s  {name}")

    def say(self, text: str) -> None:
        """See `Steps`."""
        # One call per line, so that the lines of two threads cannot mix.
        self._output.write(f"{text}\n")
        self._output.flush()


class TerminalSteps:
    """Spinners while steps run, a tick and the time they took afterwards."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._running = 0

    @contextmanager
    def step(self, name: str) -> Generator[Tell]:
        """See `Steps`."""
        progress = self._begin()
        task = progress.add_task(name, total=1)

        def tell(so_far: str) -> None:
            progress.update(task, description=f"{name}: {escape(so_far)}" if so_far else name)

        try:
            yield tell
            progress.update(task, description=name, completed=1)
        except BaseException:
            progress.update(task, description=f"[red]{name}: failed")
            progress.stop_task(task)
            raise
        finally:
            self._finish(progress)

    def say(self, text: str) -> None:
        """See `Steps`."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _begin(self) -> Progress:
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(finished_text="[green]✓"),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._progress.start()
        self._running += 1
        return self._progress

    def _finish(self, progress: Progress) -> None:
        self._running -= 1
        if not self._running:
            progress.stop()
            self._progress = None


def steps_for(output: TextIO) -> Steps:
    """Return what fits the output."""
    return TerminalSteps(Console(file=output)) if output.isatty() else PlainSteps(output)
