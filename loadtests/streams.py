"""A closed loop of streamed chat completions, over raw sockets.

Standard library only, so that the client takes little of a machine that it
shares with the server it measures. Tokens are those of the server's own usage.
"""

import asyncio
import json
import ssl
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

REQUEST_TIMEOUT_S = 600.0
UNFINISHED = "cut off"
HOPS = b": server-timing "
PROMPT = "Tell me what you can do, as fully as you can."


@dataclass(frozen=True, slots=True)
class Target:
    """An OpenAI-compatible server and the model to ask for."""

    name: str
    url: str
    model: str
    key: str = field(default="", repr=False)
    headers: tuple[str, ...] = ()
    """Further lines of each request's head (`paced.py` alone sends them)."""


@dataclass(slots=True)
class Sample:
    """One request: times in seconds since it was sent, connecting included."""

    ttft_s: float | None = None
    total_s: float = 0.0
    gaps_s: list[float] = field(default_factory=list[float])
    tokens: int = 0
    prompt_tokens: int = 0
    failure: str = UNFINISHED
    hops_ms: dict[str, float] = field(default_factory=dict[str, float])
    """Where the server says that the time went, if it does."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round measured; failed requests count in `failures` only."""

    streams: int
    requests: int
    failures: dict[str, int]
    requests_per_s: float
    tokens_per_s: float
    ttft_ms_p50: float
    ttft_ms_p99: float
    gap_ms_p50: float
    gap_ms_p99: float
    hops_ms: dict[str, float] = field(default_factory=dict[str, float])
    """Milliseconds that a request spent in each hop, in the median, by the server's own `Server-Timing`."""


async def measure(target: Target, streams: int, requests: int, max_tokens: int, *, is_new: bool = True) -> Figures:
    """Send `requests` prompts, each another if `is_new`, `streams` at a time, and wait for all answers."""
    limiter, run = asyncio.Semaphore(streams), time.time_ns()

    async def send(number: int) -> Sample:
        async with limiter:
            return await stream(target, f"({run}-{number if is_new else 0}) {PROMPT}", max_tokens)

    began = time.perf_counter()
    samples = await asyncio.gather(*(send(number) for number in range(requests)))
    return _figures(samples, streams, time.perf_counter() - began)


async def stream(target: Target, prompt: str, max_tokens: int) -> Sample:
    """Stream one answer of exactly `max_tokens`; a failure is told in the sample, never raised."""
    sample = Sample()
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            await _exchange(target, _body(target.model, prompt, max_tokens), sample)
    except TimeoutError:
        sample.failure = "timeout"
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        sample.failure = type(error).__name__
    return sample


def _body(model: str, prompt: str, max_tokens: int) -> bytes:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(body).encode()


async def _exchange(target: Target, body: bytes, sample: Sample) -> None:
    address = urlsplit(target.url)
    secure = ssl.create_default_context() if address.scheme == "https" else None
    port = address.port or (443 if secure else 80)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(address.hostname, port, ssl=secure)
    try:
        writer.write(_head(target, address.hostname or "", len(body)) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status == b"200":
            async for event in _events(reader, head):
                note(event, sample, time.perf_counter() - began)
        else:
            sample.failure = f"status {status.decode()}"
    finally:
        writer.close()


def _head(target: Target, host: str, length: int) -> bytes:
    lines = [
        f"POST {urlsplit(target.url).path.rstrip('/')}/v1/chat/completions HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Connection: close",
        "X-Server-Timing: trailer",
        *([f"Authorization: Bearer {target.key}"] if target.key else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def _events(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """Yield the data of each server-sent event, as soon as it is whole."""
    rest = b""
    async for piece in _pieces(reader, head):
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            yield event.removeprefix(b"data:").strip()


async def _pieces(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, without the framing of RFC 9112, section 7.1."""
    if b"transfer-encoding: chunked" not in head.lower():
        while piece := await reader.read(65536):
            yield piece
        return
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


def note(event: bytes, sample: Sample, now_s: float) -> dict[str, Any]:
    """Take one event's data into the sample and return what it adds to the message; raises ValueError for garbage."""
    if event.startswith(HOPS):
        sample.hops_ms = hops_in(event.removeprefix(HOPS).decode())
    if not event or event.startswith(b":"):
        return {}
    if event == b"[DONE]":
        sample.total_s = now_s
        if sample.failure == UNFINISHED:
            sample.failure = "" if sample.tokens else "no usage"
        return {}
    chunk: dict[str, Any] = json.loads(event)
    if "error" in chunk:
        sample.failure = "error event"
    usage = chunk.get("usage") or {}
    sample.tokens = usage.get("completion_tokens") or sample.tokens
    sample.prompt_tokens = usage.get("prompt_tokens") or sample.prompt_tokens
    delta = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
    if any(delta.get(name) for name in ("content", "reasoning", "tool_calls")):
        if sample.ttft_s is None:
            sample.ttft_s = now_s
        else:
            sample.gaps_s.append(now_s - sample.total_s)
        sample.total_s = now_s
    return delta


def hops_in(header: str) -> dict[str, float]:
    """Return the milliseconds of each hop of a `Server-Timing` (W3C)."""
    parts = (part.strip().partition(";dur=") for part in header.split(","))
    return {name: float(duration) for name, _, duration in parts if duration}


def _figures(samples: list[Sample], streams: int, elapsed_s: float) -> Figures:
    good = [sample for sample in samples if not sample.failure]
    failures = [sample.failure for sample in samples if sample.failure]
    ttft = [sample.ttft_s for sample in good if sample.ttft_s is not None]
    gaps = [gap for sample in good for gap in sample.gaps_s]
    return Figures(
        streams=streams,
        requests=len(samples),
        failures={kind: failures.count(kind) for kind in sorted(set(failures))},
        requests_per_s=round(len(good) / elapsed_s, 1),
        tokens_per_s=round(sum(sample.tokens for sample in good) / elapsed_s, 1),
        ttft_ms_p50=quantile_ms(ttft, 0.5),
        ttft_ms_p99=quantile_ms(ttft, 0.99),
        gap_ms_p50=quantile_ms(gaps, 0.5),
        gap_ms_p99=quantile_ms(gaps, 0.99),
        hops_ms=medians([sample.hops_ms for sample in good if sample.hops_ms]),
    )


def medians(hops_ms: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each hop, in the order of the first request; one that a request lacks took it no time."""
    names = dict.fromkeys(name for hops in hops_ms for name in hops)
    return {name: round(statistics.median(hops.get(name, 0.0) for hops in hops_ms), 2) for name in names}


def quantile_ms(values_s: list[float], q: float) -> float:
    """Return the q-quantile (0..1) of seconds in milliseconds; 0.0 if there are none."""
    ordered = sorted(values_s)
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1e3, 2) if ordered else 0.0


def median(rounds: list[Figures]) -> Figures:
    """Return the median of each figure over the rounds of one width; failures are added up."""
    numbers = ("requests_per_s", "tokens_per_s", "ttft_ms_p50", "ttft_ms_p99", "gap_ms_p50", "gap_ms_p99")
    kinds = sorted({kind for one in rounds for kind in one.failures})
    return Figures(
        streams=rounds[0].streams,
        requests=sum(one.requests for one in rounds),
        failures={kind: sum(one.failures.get(kind, 0) for one in rounds) for kind in kinds},
        **{name: round(statistics.median(getattr(one, name) for one in rounds), 2) for name in numbers},
        hops_ms=medians([one.hops_ms for one in rounds if one.hops_ms]),
    )
