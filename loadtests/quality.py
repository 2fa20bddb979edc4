"""How many plain questions a served model answers correctly, with its sampling defaults or others.

    python -m loadtests.quality http://127.0.0.1:8000 smollm2 --key "$(.venv/bin/chatllm keys create me)"
    python -m loadtests.quality http://127.0.0.1:8000 smollm2 --times 8 --sampling '{"temperature": 0.2}'

Asks each question of plain_questions.yaml several times, past the cache, and prints one line: how many answers were
right, and how many questions were answered correctly every time, sometimes, and never.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

QUESTIONS = Path(__file__).parent / "plain_questions.yaml"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what a right answer to it matches."""

    ask: str
    right: str

    def is_answered_by(self, text: str) -> bool:
        """Whether a text has the right answer in it."""
        return re.search(self.right, text, re.IGNORECASE | re.DOTALL) is not None


def main() -> None:
    """Ask, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--key", default="", help="the API key")
    parser.add_argument("--times", type=int, default=4, help="answers to each question")
    parser.add_argument("--sampling", type=json.loads, default={}, help="sampling parameters of the requests, as JSON")
    parser.add_argument("--streams", type=int, default=16, help="how many requests at a time")
    parser.add_argument("--show", action="store_true", help="print the questions that were not always answered")
    print(asyncio.run(_measure(parser.parse_args())))


def questions() -> list[Question]:
    """Return the committed questions."""
    return [Question(**entry) for entry in yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))]


def summary(right: Mapping[Question, int], times: int) -> str:
    """Return the line for how often each question was answered correctly out of so many times."""
    always, never = (sum(count == wanted for count in right.values()) for wanted in (times, 0))
    mean = sum(right.values()) / times
    rest = len(right) - always - never
    return f"{mean:.1f} of {len(right)} answers right; always {always}, sometimes {rest}, never {never}"


async def _measure(options: argparse.Namespace) -> str:
    headers = {"cache-control": "no-store"} | ({"authorization": f"Bearer {options.key}"} if options.key else {})
    parameters = {"model": options.model, "max_tokens": 64, **options.sampling}
    slots = asyncio.Semaphore(options.streams)
    async with httpx.AsyncClient(base_url=options.url, headers=headers, timeout=300) as client:

        async def count(question: Question) -> int:
            answers = [await _answer(client, slots, question.ask, parameters) for _ in range(options.times)]
            return sum(map(question.is_answered_by, answers))

        known = questions()
        right = dict(zip(known, await asyncio.gather(*map(count, known)), strict=True))
    unsure = [f"{number}/{options.times}  {one.ask}" for one, number in right.items() if number < options.times]
    return "\n".join([summary(right, options.times), *(unsure if options.show else [])])


async def _answer(client: httpx.AsyncClient, slots: asyncio.Semaphore, ask: str, parameters: Mapping[str, Any]) -> str:
    body = {**parameters, "messages": [{"role": "user", "content": ask}]}
    async with slots:
        answer = await client.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"] or ""


if __name__ == "__main__":
    main()
