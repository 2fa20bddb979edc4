"""Grammars are compiled on trial in a process of their own, and ended there when they take too long."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deployments.models.vllm.grammar_check import GrammarCheck, Trial, TrialResult

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

LIMIT_S = 1.0
counted: list[tuple[TrialResult, float]] = []


def vocabulary() -> str:
    """A tokenizer of single bytes and of some thousand syllables."""
    import xgrammar

    consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
    syllables = [a + b + c for a in consonants for b in vowels for c in consonants]
    tokens = [bytes([byte]) for byte in range(256)] + [syllable.encode() for syllable in syllables]
    info = xgrammar.TokenizerInfo(tokens, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[0])
    return info.serialize_json()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def check() -> AsyncGenerator[GrammarCheck]:
    counted.clear()
    check = GrammarCheck(vocabulary, LIMIT_S, lambda outcome, cpu_s: counted.append((outcome, cpu_s)))
    yield check
    await check.aclose()


def schema(**properties: Any) -> Trial:
    return Trial("json", json.dumps({"type": "object", "properties": properties, "required": []}))


def endless(seed: int = 0) -> Trial:
    """The cost of optional properties grows with the square of their number."""
    return schema(**{f"property_{seed}_{number}": {"type": "string"} for number in range(9_000)})


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_short_plain_schema_needs_no_trial(check: GrammarCheck) -> None:
    assert await check.outcome(schema(city={"enum": ["Rome", "Bonn"]})) == "cheap"
    assert not schema(city={"type": "string", "pattern": "a{1,1000}"}).is_cheap
    assert not Trial("regex", "a").is_cheap


@pytest.mark.parametrize(
    ("trial", "outcome"),
    [
        (schema(**{f"p{number}": {"type": "string", "description": "x" * 900} for number in range(120)}), "passed"),
        (schema(kind={"enum": [f"value {number}" for number in range(800)]}), "passed"),
        (schema(name={"type": "string", "maxLength": 2000}), "passed"),
        (Trial("regex", r"\d{4}-\d{2}-\d{2}"), "passed"),
        (Trial("grammar", 'root ::= "yes" | "no"'), "passed"),
        (Trial("lark", 'start: "yes" | "no"'), "passed"),
        (Trial("regex", "(a"), "invalid"),
        (Trial("grammar", "root :="), "invalid"),
        (Trial("structural_tag", '{"structures": [{"begin": 1}], "x": "' + "x" * 3000 + '"}'), "invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.spec[:40],
)
async def test_what_is_usual_passes_and_what_is_wrong_is_told(
    check: GrammarCheck, trial: Trial, outcome: TrialResult
) -> None:
    assert await check.outcome(trial) == outcome
    assert await check.outcome(trial) == ("known" if outcome == "passed" else outcome)
    assert counted[-1][0] != outcome or outcome == "invalid"


async def test_a_grammar_without_end_is_ended_and_the_next_is_not_kept(check: GrammarCheck) -> None:
    assert await check.outcome(endless()) == "too_slow"
    assert counted[-1] == ("too_slow", LIMIT_S)
    assert await check.outcome(Trial("regex", "next")) == "passed"


async def test_a_client_that_leaves_ends_its_compilation(check: GrammarCheck) -> None:
    await check.outcome(Trial("regex", "started"))
    process = check._process
    assert process is not None
    trial = asyncio.create_task(check.outcome(endless(1)))
    while not children(process.pid):
        await asyncio.sleep(0.01)
    trial.cancel()
    began = time.perf_counter()
    with pytest.raises(asyncio.CancelledError):
        await trial
    while children(process.pid):
        assert time.perf_counter() - began < 5
        await asyncio.sleep(0.01)


async def test_the_process_is_started_again_when_it_has_died(check: GrammarCheck) -> None:
    await check.outcome(Trial("regex", "before"))
    process = check._process
    assert process is not None
    os.kill(process.pid, 9)
    await process.wait()
    assert await check.outcome(Trial("regex", "after")) == "passed"
