"""What many open chat pages cost the one process that serves them: `python -m loadtests.page_sessions`.

Starts the page and, in front of it, a scripted service that answers at a reader's pace;
then a wave of browsers (bare websockets) that each ask a question and, while all answers
stream at once, click. Prints the table of docs/explanation/benchmarks.md:

click     from a click (open an editor, close it) to the server's answer to it
memory    what a session holds while its answer streams: the growth of the page's resident set
leak      what a second wave of as many sessions adds to the first, once that has gone
CPU       seconds of the page's process per 1,000 tokens, of all sessions together, and of one long answer

It needs a checkout: the scripted service is that of the page's tests.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil

from loadtests.browsers import Browser
from loadtests.sides import free_port

ROOT = Path(__file__).parents[1]
KEY = "sk-stand-in"
CLICK_EVERY_S = 3.0
RELEASE_S = 33.0  # the page keeps a session for 30 s, for a browser that lost its connection
PARAGRAPH = (
    "The **cache** stands in front of the model, and `X-Cache` tells what it did for each request. "
    "A request is deterministic with a temperature of zero, or with a seed of its own.\n\n"
)
BLOCKS = "1. one item of a list\n2. and another one\n\n```python\nfor answer in answers:\n    print(answer)\n```\n\n"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run has shown; memory in MB, times in seconds."""

    sessions: int
    tokens: int
    clicks: list[float]
    memory_mb: float
    leaked_mb: float
    cpu_s: float

    @property
    def click_p95_s(self) -> float:
        """The time under which 95 of 100 clicks stay."""
        return statistics.quantiles(self.clicks, n=20)[-1]


def text(tokens: int) -> str:
    """Return an answer with that many spaces between its words, as models write them."""
    block = PARAGRAPH * 2 + BLOCKS
    words = block.split(" ")
    return " ".join((words * (tokens // len(words) + 1))[:tokens])


@contextmanager
def served(answer: str, token_s: float) -> Generator[tuple[str, psutil.Process]]:
    """Run the page in front of a scripted service; yields its address and its process."""
    api_port, page_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {
            "CHATLLM_API_URL": f"http://127.0.0.1:{api_port}",
            "CHATLLM_API_KEY": KEY,
            "CHATLLM_PAGE_PORT": str(page_port),
            "CHATLLM_PAGE_SIGN_IN": "0",
            "NICEGUI_STORAGE_PATH": folder,
        }
        environ.pop("PYTEST_CURRENT_TEST", None)
        service = [sys.executable, "-m", "tests.ui.stand_in", str(api_port), answer, str(token_s)]
        started = [subprocess.Popen(service, cwd=ROOT)]  # noqa: S603 - these very programs
        try:
            page = [sys.executable, "-m", "ui"]
            started.append(subprocess.Popen(page, cwd=ROOT, env=environ))  # noqa: S603
            address = f"http://127.0.0.1:{page_port}"
            _wait_for(address)
            yield address, psutil.Process(started[1].pid)
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(15)


async def measure(sessions: int, tokens: int, token_s: float) -> Figures:
    """Run two waves of sessions, the first of which is measured."""
    with served(text(tokens), token_s) as (address, process):
        await wave(address, process, 2)  # what is loaded and made once
        before = process.memory_info().rss
        cpu_before = _cpu_s(process)
        clicks, at_most = await wave(address, process, sessions)
        cpu_s = _cpu_s(process) - cpu_before
        await asyncio.sleep(RELEASE_S)
        after = process.memory_info().rss
        await wave(address, process, sessions)
        await asyncio.sleep(RELEASE_S)
        leaked = process.memory_info().rss - after
    return Figures(sessions, tokens, clicks, (at_most - before) / sessions / 1e6, leaked / sessions / 1e6, cpu_s)


async def measure_one(tokens: int, token_s: float) -> float:
    """Return the CPU seconds per 1,000 tokens of one long answer."""
    with served(text(tokens), token_s) as (address, process):
        await wave(address, process, 1, clicks=False)
        before = _cpu_s(process)
        await wave(address, process, 1, clicks=False)
        return (_cpu_s(process) - before) / tokens * 1e3


async def wave(address: str, process: psutil.Process, sessions: int, *, clicks: bool = True) -> tuple[list[float], int]:
    """Let so many browsers open the page, then ask at once; returns the times of their clicks, and the memory."""
    async with AsyncExitStack() as stack:
        browsers = [await stack.enter_async_context(Browser.opened(address)) for _ in range(sessions)]
        taken = await asyncio.gather(*(_chat(browser, clicks=clicks) for browser in browsers))
        return [click for one in taken for click in one], process.memory_info().rss


async def _chat(browser: Browser, *, clicks: bool) -> list[float]:
    """Ask, and click until the answer is there."""
    await browser.ask("How does the cache work?")
    await browser.until(lambda: browser.find("piece") is not None and browser.find("live") is not None)
    await asyncio.sleep(random.uniform(0, CLICK_EVERY_S))
    taken: list[float] = []
    while clicks and browser.find("live") is not None:
        for button, shown in (("Edit question", "editor"), ("Cancel", "question-body")):
            taken.append(await browser.click(button, partial(browser.find, shown, visible=True)))
            await asyncio.sleep(CLICK_EVERY_S / 2)
    await browser.until(lambda: browser.find("live") is None, within_s=600)
    return taken


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit("The page does not answer.")


def main() -> None:
    """Measure, and print a row for each figure."""
    parser = argparse.ArgumentParser(description="What many open chat pages cost the process that serves them.")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=300, help="of each answer")
    parser.add_argument("--token-ms", type=float, default=50, help="between two tokens of one answer")
    parser.add_argument("--long", type=int, default=8000, help="tokens of the one long answer; 0 leaves it out")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.sessions, options.tokens, options.token_ms / 1e3))
    print(f"| click, {figures.sessions} sessions streaming | p50 {statistics.median(figures.clicks) * 1e3:.0f} ms |")
    print(f"| | p95 {figures.click_p95_s * 1e3:.0f} ms, of {len(figures.clicks)} |")
    print(f"| memory of a session | {figures.memory_mb:.2f} MB |")
    print(f"| of it left by a second wave | {figures.leaked_mb:.3f} MB |")
    spent = figures.cpu_s / (figures.sessions * figures.tokens) * 1e3
    print(f"| CPU per 1,000 tokens, all sessions | {spent:.2f} s |")
    if options.long:
        spent = asyncio.run(measure_one(options.long, 0.002))
        print(f"| CPU per 1,000 tokens, one answer of {options.long} | {spent:.2f} s |")


if __name__ == "__main__":
    main()
