"""What a conversation costs as it grows: `python -m tests.measured_memory` prints the figures
of docs/explanation/benchmarks.md.

It measures the service from the inside, which no load test does: it starts a Postgres of its own
in a temporary folder (the embedded one, on disk) and measures, through the service's own stores:

turn      writing a turn (a question, then its answer) and reading its context, at turn 10
          and at turn 5,000 of a conversation; both kinds alternate, medians over 300 turns
search    the time of a search over 200,000 messages of one key, by how common the words are
memory    what a request holds of a conversation that has far outgrown the model's window
prefix    the share of a prompt's tokens that vLLM's prefix cache would hold already, over
          chats that outgrow the window: trimmed in steps, and by a window that slides

The last is a simulation: the demo model's tokenizer and chat template, and vLLM's rule
that whole blocks of 16 tokens hit if all before them do. `--engine` asks a real vLLM
engine with the demo model instead, in this process, how many tokens were cached.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deployments.config import HistorySettings
from deployments.history.postgres import PostgresHistory
from deployments.history.types import NewItem
from deployments.history.wire import messages_of_items
from deployments.infra.postgres.database import Database
from deployments.local.servers.postgres import PostgresServer
from deployments.local.state import StateFolder
from deployments.models.trim import TOKENS_PER_MESSAGE, trimmed

TENANT = "bench"
MODEL = Path(__file__).parents[1] / "demo_model" / "weights"
MAX_ITEMS, MAX_BYTES = 512, 1_048_576
BLOCK_TOKENS = 16
ENGINE_BLOCK_TOKENS = 32  # the least that vLLM's attention takes on a CPU
WINDOW = 2048
WORDS = [f"{a}{b}{c}" for a in "bdfghklmnprstvz" for b in ("a", "e", "i", "o", "ua") for c in "lmnrstxz"]


def text(words: int) -> str:
    """Return made-up prose; like that of a language, its words are not equally common."""
    chosen = (WORDS[min(int(random.paretovariate(0.6)) - 1, len(WORDS) - 1)] for _ in range(words))
    return " ".join(chosen)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds that `work` takes."""
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


async def conversation_of(history: PostgresHistory, turns: int) -> str:
    """Return a conversation that has so many turns already."""
    made = (await history.create_conversation(TENANT, {})).id
    for at in range(0, turns, 50):
        items = [
            NewItem.message("user" if n % 2 == 0 else "assistant", text(40)) for n in range(2 * min(50, turns - at))
        ]
        await history.append(TENANT, made, items)
    return made


async def write_turn(history: PostgresHistory, conversation: str) -> None:
    """Write a turn as the service does: the question, then the answer after it."""
    question, answer = NewItem.message("user", text(20)), NewItem.message("assistant", text(80))
    await history.append(TENANT, conversation, [question])
    await history.append(TENANT, conversation, [answer.after(question.id)])


async def measure_turns(history: PostgresHistory, turns: int) -> None:
    """Print what a turn costs in a short conversation and in a long one."""
    long = await conversation_of(history, turns)
    writes: dict[str, list[float]] = {"short": [], "long": []}
    reads: dict[str, list[float]] = {"short": [], "long": []}
    for _ in range(30):
        short = await conversation_of(history, 10)
        for _ in range(10):
            for name, conversation in (("short", short), ("long", long)):
                writes[name].append(await timed(lambda c=conversation: write_turn(history, c)))
                read = history.context(TENANT, conversation, None, MAX_ITEMS, MAX_BYTES)
                reads[name].append(await timed(lambda r=read: r))
    for what, times in (("write", writes), ("read context", reads)):
        short_ms, long_ms = (statistics.median(times[name]) for name in ("short", "long"))
        ratio = long_ms / short_ms
        print(f"turn: {what}: {short_ms:.2f} ms at turn 10, {long_ms:.2f} ms at turn {turns:,}: ratio {ratio:.2f}")
    context = await history.context(TENANT, long, None, MAX_ITEMS, MAX_BYTES)
    print(f"turn: {len(context.items)} items are read of {turns * 2 + 600:,}, and never more than {MAX_BYTES:,} bytes")


async def measure_search(history: PostgresHistory, database: Database, messages: int) -> None:
    """Print how long searches take over many messages of one tenant."""
    began = time.perf_counter()
    for _ in range(0, messages, 1000):
        made = (await history.create_conversation(TENANT, {})).id
        await history.append(TENANT, made, [NewItem.message("user", text(40)) for _ in range(1000)])
    print(f"search: {messages:,} messages were added in {time.perf_counter() - began:.0f} s")
    await database.fetch("ANALYZE item_words")
    kinds = {
        "a common word": lambda: WORDS[0],
        "a rare word": lambda: random.choice(WORDS[-100:]),
        "two words": lambda: f"{random.choice(WORDS[:20])} {random.choice(WORDS[-300:])} ",
        "two letters": lambda: random.choice(WORDS)[:2],
        "three words, the last begun": lambda: " ".join((*random.sample(WORDS[:60], 2), random.choice(WORDS)[:2])),
        "nothing there": lambda: "zzzz",
    }
    every: list[float] = []
    for name, typed in kinds.items():
        times = [await timed(lambda t=typed: history.search(TENANT, t())) for _ in range(60)]
        every += times
        print(f"search: {name}: p50 {statistics.median(times):.1f} ms, p95 {statistics.quantiles(times, n=20)[-1]:.1f}")
    print(f"search: all: p95 {statistics.quantiles(every, n=20)[-1]:.1f} ms")


def sliding(messages: list[dict[str, Any]], budget: int, count: Callable[[str], int]) -> list[dict[str, Any]]:
    """Return the newest messages that fit, from a user's on: what a window that slides by messages keeps."""
    total, first = 0, len(messages)
    while first and (total := total + count(messages[first - 1]["content"]) + TOKENS_PER_MESSAGE) <= budget:
        first -= 1
    while first < len(messages) - 1 and messages[first]["role"] != "user":
        first += 1
    return messages[first:]


class SimulatedCache:
    """Says how much of a prompt vLLM's prefix cache would hold, were it endless."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def ask(self, prompt: list[int]) -> int:
        """Return how many of the prompt's tokens are there already, and keep them all."""
        # A block's name depends on all before it; the last token is always computed, as its answer must be.
        name, hits, is_hit = 0, 0, True
        for at in range(0, len(prompt) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            name = hash((name, *prompt[at : at + BLOCK_TOKENS]))
            is_hit = is_hit and name in self._known and at + BLOCK_TOKENS < len(prompt)
            hits += BLOCK_TOKENS * is_hit
            self._known.add(name)
        return hits


class EngineCache:
    """A vLLM engine with the demo model, in this process; its blocks are larger on a CPU."""

    def __init__(self, window: int) -> None:
        os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="ERROR")
        from vllm import LLM, SamplingParams

        self._engine: Any = LLM(
            str(MODEL), dtype="float32", max_model_len=window, enforce_eager=True, block_size=ENGINE_BLOCK_TOKENS
        )
        self._one_token = SamplingParams(max_tokens=1)

    def ask(self, prompt: list[int]) -> int:
        """Return how many of the prompt's tokens were cached."""
        (output,) = self._engine.generate({"prompt_token_ids": prompt}, self._one_token, use_tqdm=False)
        return output.num_cached_tokens or 0

    def forget(self) -> None:
        """Empty the cache."""
        self._engine.reset_prefix_cache()


def measure_prefix(window: int, turns: int, seeds: int = 5, engine: EngineCache | None = None) -> None:
    """Print the hit rates of both ways of trimming over chats of so many turns."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)  # pyright: ignore[reportUnknownMemberType]

    def count(words: str) -> int:
        return len(tokenizer.encode(words))

    for name, trim in (("in steps", trimmed), ("sliding", sliding)):
        hits = asked = 0
        for seed in range(seeds):
            if engine:
                engine.forget()
            random.seed(seed)
            cache = engine or SimulatedCache()
            said: list[dict[str, Any]] = []
            for _ in range(turns):
                said.append({"role": "user", "content": text(random.randint(5, 25))})
                prompt = _tokens(tokenizer, trim(said[-MAX_ITEMS:], window - window // 4, count))
                hits += cache.ask(prompt)
                asked += len(prompt)
                said.append({"role": "assistant", "content": text(random.randint(10, 50))})
                cache.ask(prompt + tokenizer.encode(said[-1]["content"]))  # generating it fills the cache
        print(f"prefix: {turns} turns, window {window}: {name}: {hits / asked:.0%} of {asked // seeds:,} tokens hit")


def _tokens(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    prompt: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(prompt, add_special_tokens=False)


async def measure_stores(turns: int, messages: int) -> None:
    """Measure on a Postgres of its own."""
    with tempfile.TemporaryDirectory(prefix="chatllm-memory-") as folder:
        server = PostgresServer(StateFolder.open(Path(folder)))
        database = Database(SecretStr(server.start()), HistorySettings(timeout_s=60))
        await database.open()
        try:
            history = PostgresHistory(database)
            await measure_turns(history, turns)
            if messages:
                await measure_search(history, database, messages)
        finally:
            await database.close()
            server.stop()


async def measure_growth() -> None:
    """Print how a process's memory grows while contexts of a long conversation are read and made into messages."""
    with tempfile.TemporaryDirectory(prefix="chatllm-memory-") as folder:
        server = PostgresServer(StateFolder.open(Path(folder)))
        database = Database(SecretStr(server.start()), HistorySettings())
        await database.open()
        try:
            history = PostgresHistory(database)
            for turns in (300, 1000, 5000):
                conversation = await conversation_of(history, turns)
                tracemalloc.start()
                context = await history.context(TENANT, conversation, None, MAX_ITEMS, MAX_BYTES)
                held = messages_of_items(context.items)
                peak = tracemalloc.get_traced_memory()[1] / 1024
                tracemalloc.stop()
                size = sum(len(str(message["content"])) for message in held)
                print(f"memory: turn {turns:,}: a request holds {len(held)} messages, {size:,} characters;", end=" ")
                print(f"{peak:,.0f} KiB at its peak")
        finally:
            await database.close()
            server.stop()


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5000, help="turns of the long conversation")
    parser.add_argument("--messages", type=int, default=200_000, help="messages that are searched; 0: no search")
    parser.add_argument("--only", choices=["stores", "growth", "prefix", "engine"], help="measure one thing")
    parser.add_argument("--engine", action="store_true", help="ask a vLLM engine for the prefix cache too (minutes)")
    given = parser.parse_args()
    random.seed(1)
    if given.only in (None, "stores"):
        asyncio.run(measure_stores(given.turns, given.messages))
    if given.only in (None, "growth"):
        asyncio.run(measure_growth())
    if given.only in (None, "prefix"):
        for turns in (40, 400):
            measure_prefix(WINDOW, turns)
    if given.engine or given.only == "engine":
        measure_prefix(WINDOW, 40, seeds=1, engine=EngineCache(WINDOW))


if __name__ == "__main__":
    main()
