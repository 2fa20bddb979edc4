"""What it costs to relay tokens between two processes: by our transport, ZeroMQ and Ray Serve's handles, in one run.

    python -m tests.measured_transports           # about two minutes; needs no GPU and no configuration

One process plays a model replica that emits a token for every stream at each step, another one the ingress. All but
Serve's handles carry the same frames (infra/transport/framing.py), gathered per turn of the event loop, over one
connection; a handle carries each token as a message of its stream. Nothing is done with a token but to count it.

    relayed     tokens per second of 64 streams that emit as fast as they can
    CPU         microseconds per token of both processes together, at 64 streams (20 ms a step) and 1,000 (100 ms)
    look-up     milliseconds for a request of 200 bytes and its response, one after another
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvloop
import zmq
import zmq.asyncio

from deployments.infra.transport.client import connect
from deployments.infra.transport.connection import Connection
from deployments.infra.transport.framing import CHANNEL_BYTES, Frame, decode, encode
from deployments.infra.transport.server import Address, Server
from loadtests.streams import quantile_ms

RESULTS = Path(__file__).parents[1] / "loadtests" / "results"
TOKEN = b"t" * 180
LOOKUP = b"q" * 200
COMMAND, TOKENS, REQUEST, RESPONSE, SPENT = range(5)
NOBODY = bytes(CHANNEL_BYTES)
WIDTHS = {64: 0.02, 1000: 0.1}
"""Seconds of a step, by streams."""
LOOKUPS = 1_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What one transport takes."""

    relayed_per_s: float
    cpu_us_64: float
    cpu_us_1000: float
    passed_1000: float
    """The share of the tokens offered at 1,000 streams that arrived in time."""
    lookup_ms_p50: float
    lookup_ms_p99: float


class Line(ABC):
    """One end of a connection between the two processes."""

    def __init__(self) -> None:
        self.receive: Callable[[Frame], None] = lambda _frame: None

    @abstractmethod
    def write(self, channel: bytes, kind: int, payload: bytes) -> None:
        """Send a frame with the others of this turn of the event loop."""

    @abstractmethod
    async def writable(self) -> None:
        """Wait while too much is unsent."""


class OwnLine(Line):
    """This service's transport."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None

    def write(self, channel: bytes, kind: int, payload: bytes) -> None:
        assert self.connection is not None
        self.connection.write(channel, kind, payload)

    async def writable(self) -> None:
        assert self.connection is not None
        await self.connection.writable()


class Told:
    """Gives what comes by a connection of this service to its line."""

    def __init__(self, line: OwnLine) -> None:
        self._line = line

    def receive(self, connection: Connection, frame: Frame) -> None:
        self._line.connection = connection
        self._line.receive(frame)

    def lost(self, connection: Connection) -> None: ...


class ZeroMQLine(Line):
    """A ROUTER or DEALER socket; a ROUTER names its peer in each message."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        super().__init__()
        self._socket = socket
        self._peer: list[bytes] = []
        self._pieces: list[bytes] = []
        self._sent: asyncio.Future[Any] | None = None
        self._reader = asyncio.create_task(self._read())

    def write(self, channel: bytes, kind: int, payload: bytes) -> None:
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pieces.append(encode(channel, kind, payload))

    async def writable(self) -> None:
        if self._sent is not None:
            await self._sent

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._sent = self._socket.send_multipart([*self._peer, b"".join(pieces)])

    async def _read(self) -> None:
        while True:
            *self._peer, data = await self._socket.recv_multipart()
            for frame in decode(bytearray(data)):
                self.receive(frame)


@asynccontextmanager
async def own(is_encrypted: bool) -> AsyncGenerator[Line]:
    """Start a replica that connects by this service's transport."""
    line = OwnLine()
    server = Server(lambda: Told(line))
    address = await server.open("127.0.0.1", is_encrypted)
    with _replica(own_replica, address):
        yield line
    await server.aclose()


def own_replica(address: Address) -> None:
    """Be the replica of `own`."""

    async def run() -> None:
        line = OwnLine()
        replica = Replica(line)
        line.connection = await connect(address, Told(line))
        line.write(NOBODY, RESPONSE, b"here")
        await replica.ended.wait()

    uvloop.run(run())


@asynccontextmanager
async def zeromq(is_encrypted: bool) -> AsyncGenerator[Line]:
    """Start a replica that connects by ZeroMQ."""
    public, secret = zmq.curve_keypair()
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.ROUTER)
    if is_encrypted:
        socket.curve_server, socket.curve_secretkey, socket.curve_publickey = True, secret, public
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    with _replica(zeromq_replica, port, public if is_encrypted else b""):
        yield ZeroMQLine(socket)
    context.destroy(linger=0)


def zeromq_replica(port: int, server_key: bytes) -> None:
    """Be the replica of `zeromq`."""

    async def run() -> None:
        socket = zmq.asyncio.Context().socket(zmq.DEALER)
        if server_key:
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = server_key
        socket.connect(f"tcp://127.0.0.1:{port}")
        line = ZeroMQLine(socket)
        replica = Replica(line)
        line.write(NOBODY, RESPONSE, b"here")
        await replica.ended.wait()

    uvloop.run(run())


class Replica:
    """What the other process does: it answers look-ups, and emits tokens as it is commanded."""

    def __init__(self, line: Line) -> None:
        self.ended = asyncio.Event()
        self._line = line
        self._task: asyncio.Task[None] | None = None
        line.receive = self._receive

    def _receive(self, frame: Frame) -> None:
        if frame.kind == REQUEST:
            self._line.write(frame.channel, RESPONSE, frame.payload)
        elif frame.kind == COMMAND:
            self._task = asyncio.create_task(self._emit(**json.loads(frame.payload)))

    async def _emit(self, streams: int, step_s: float, lasts_s: float) -> None:
        names = [number.to_bytes(CHANNEL_BYTES, "big") for number in range(streams)]
        until, spent_s = time.time() + lasts_s, time.process_time()
        while time.time() < until:
            await _step(step_s)
            for name in names:
                self._line.write(name, TOKENS, TOKEN)
            await self._line.writable()
        self._line.write(NOBODY, SPENT, str(time.process_time() - spent_s).encode())


async def _step(step_s: float) -> None:
    now = time.time()
    await asyncio.sleep((math.floor(now / step_s) + 1) * step_s - now if step_s else 0)


@contextmanager
def _replica(target: Callable[..., None], *arguments: Any) -> Generator[None]:
    """Run a process until the block ends."""
    process = get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(10)


async def measure(line: Line, seconds: float) -> Measured:
    """Measure a transport of frames."""
    here = asyncio.Event()
    line.receive = lambda _frame: here.set()
    await asyncio.wait_for(here.wait(), 30)
    relayed, took_s, _ = await _emitted(line, 64, 0.0, seconds)
    cpu_us, passed = {}, 0.0
    for streams, step_s in WIDTHS.items():
        tokens, took_s_, spent_s = await _emitted(line, streams, step_s, seconds)
        cpu_us[streams], passed = spent_s * 1e6 / tokens, tokens / (streams * took_s_ / step_s)
    waits_s = await _looked_up(line)
    return _measured(relayed / took_s, cpu_us, passed, waits_s)


async def _emitted(line: Line, streams: int, step_s: float, lasts_s: float) -> tuple[int, float, float]:
    """Return how many tokens came in how many seconds, and the CPU seconds of both processes."""
    tokens, spent_there, is_over = 0, 0.0, asyncio.Event()

    def receive(frame: Frame) -> None:
        nonlocal tokens, spent_there
        if frame.kind == TOKENS:
            tokens += 1
        elif frame.kind == SPENT:
            spent_there = float(frame.payload)
            is_over.set()

    line.receive = receive
    began, spent_s = time.perf_counter(), time.process_time()
    command = {"streams": streams, "step_s": step_s, "lasts_s": lasts_s}
    line.write(NOBODY, COMMAND, json.dumps(command).encode())
    await is_over.wait()
    return tokens, time.perf_counter() - began, time.process_time() - spent_s + spent_there


async def _looked_up(line: Line) -> list[float]:
    waits_s: list[float] = []
    loop = asyncio.get_running_loop()
    response: asyncio.Future[None] = loop.create_future()
    line.receive = lambda _frame: response.set_result(None)
    for _ in range(LOOKUPS):
        response, began = loop.create_future(), time.perf_counter()
        line.write(NOBODY, REQUEST, LOOKUP)
        await response
        waits_s.append(time.perf_counter() - began)
    return waits_s


def _measured(relayed: float, cpu_us: dict[int, float], passed: float, waits_s: list[float]) -> Measured:
    p50, p99 = quantile_ms(waits_s, 0.5), quantile_ms(waits_s, 0.99)
    return Measured(round(relayed), round(cpu_us[64], 1), round(cpu_us[1000], 1), round(passed, 2), p50, p99)


async def measure_handles(handle: Any, seconds: float) -> Measured:
    """Measure Serve's handles: a stream of each answer, and a unary call for each look-up."""
    streams = handle.options(stream=True).emit
    await handle.lookup.remote(LOOKUP)

    async def emitted(count: int, step_s: float) -> tuple[int, float, float]:
        tokens = 0

        async def read() -> None:
            nonlocal tokens
            async for _ in streams.remote(step_s, seconds):
                tokens += 1

        before_s, began, spent_s = await handle.spent_s.remote(), time.perf_counter(), time.process_time()
        await asyncio.gather(*(read() for _ in range(count)))
        took_s, spent_s = time.perf_counter() - began, time.process_time() - spent_s
        return tokens, took_s, spent_s + await handle.spent_s.remote() - before_s

    relayed, took_s, _ = await emitted(64, 0.0)
    cpu_us, passed = {}, 0.0
    for count, step_s in WIDTHS.items():
        tokens, took_s_, spent_s = await emitted(count, step_s)
        cpu_us[count], passed = spent_s * 1e6 / tokens, tokens / (count * took_s_ / step_s)
    waits_s: list[float] = []
    for _ in range(LOOKUPS):
        began = time.perf_counter()
        await handle.lookup.remote(LOOKUP)
        waits_s.append(time.perf_counter() - began)
    return _measured(relayed / took_s, cpu_us, passed, waits_s)


class Emitter:
    """The replica behind a handle."""

    async def emit(self, step_s: float, lasts_s: float) -> AsyncGenerator[bytes]:
        """Yield a token at each step."""
        until = time.time() + lasts_s
        while time.time() < until:
            await _step(step_s)
            yield TOKEN

    async def lookup(self, request: bytes) -> bytes:
        """Answer a look-up."""
        return request

    async def spent_s(self) -> float:
        """Return the CPU seconds that this process has taken."""
        return time.process_time()


def handles(seconds: float) -> Measured:
    """Start Ray Serve on this machine with one replica, and measure its handles from this process."""
    os.environ |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_LOG_TO_STDERR": "0"}
    import ray
    from ray import serve

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        serve.start(proxy_location="Disabled")
        options = {"max_ongoing_requests": 5_000, "ray_actor_options": {"num_cpus": 0.1}}
        app = serve.deployment(Emitter, **options).bind()  # pyright: ignore[reportArgumentType]
        return uvloop.run(measure_handles(serve.run(app, name="emitter", route_prefix=None), seconds))
    finally:
        ray.shutdown()  # ends the local cluster, and Serve with it


async def _frames(ways: dict[str, tuple[Any, bool]], seconds: float) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    for name, (opened, is_encrypted) in ways.items():
        async with opened(is_encrypted) as line:
            found[name] = await measure(line, seconds)
        sys.stdout.write(f"{name:<20} {found[name]}\n")
    return found


WAYS = {
    "asyncio": (own, False),
    "asyncio, TLS": (own, True),
    "ZeroMQ": (zeromq, False),
    "ZeroMQ, CURVE": (zeromq, True),
}
HANDLES = "Serve's handles"


def main() -> None:
    """Measure all transports in turn, `--rounds` times, and print and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long tokens are emitted, for each figure")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rounds = [uvloop.run(_frames(WAYS, options.seconds)) for _ in range(options.rounds)]
    rounds[0][HANDLES] = handles(options.seconds)
    medians = {name: _median([found[name] for found in rounds if name in found]) for name in (*WAYS, HANDLES)}
    sys.stdout.write(_table(medians) + "\n")
    told = {"load_before": load, "rounds": [{name: asdict(one) for name, one in found.items()} for found in rounds]}
    path = options.results / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-transports.json"
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path}\n")


def _median(found: list[Measured]) -> Measured:
    return Measured(*map(statistics.median, zip(*(asdict(one).values() for one in found), strict=True)))


def _table(found: dict[str, Measured]) -> str:
    lines = [
        "| transport | relayed, 64 streams | CPU per token, 64 streams | 1,000 streams | passed | look-up p50 | p99 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        figures = [f"{one.relayed_per_s:,.0f} tokens/s", f"{one.cpu_us_64:.1f} µs", f"{one.cpu_us_1000:.1f} µs"]
        lookups = [f"{one.passed_1000:.2f}", f"{one.lookup_ms_p50:.2f} ms", f"{one.lookup_ms_p99:.2f} ms"]
        lines.append(f"| {' | '.join([name, *figures, *lookups])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
