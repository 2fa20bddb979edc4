"""A small server that behaves, and misbehaves, as a model server may; the load clients are tested against it."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
TOKEN_S = 0.01


class Model:
    """Streams `tokens` pieces of content, TOKEN_S apart, in chunks that do not respect the events."""

    def __init__(self, fault: str = "", delay_s: float = 0.0) -> None:
        self.fault = fault
        self.delay_s = delay_s
        self.requests: list[dict] = []
        self.keys: list[str] = []
        self.at_once = self.most_at_once = 0

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.keys += [headers["authorization"].split()[-1]] if "authorization" in headers else []
        self.requests.append(body)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.answer(writer, body)
        finally:
            self.at_once -= 1
            writer.close()

    async def answer(self, writer, body):
        if self.fault == "busy":
            writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            return
        chunked = self.fault != "until closed"
        writer.write(HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Connection: close\r\n\r\n"))
        for event in self.events(body):
            data = f"data: {event}\n\n".encode()
            for piece in (data[:7], data[7:]):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
            await asyncio.sleep(TOKEN_S + self.delay_s)
        if chunked and self.fault != "cut off":
            writer.write(b"0\r\n\r\n")

    def events(self, body):
        def say(**delta):
            return json.dumps({"choices": [{"index": 0, "delta": delta}]})

        yield say(role="assistant", content="")
        for number in range(body["max_tokens"]):
            yield say(content=f' "content":"{number}"\n\n')
            if self.fault == "error event" and number == 1:
                yield json.dumps({"error": {"code": "internal_error"}})
                return
            if self.fault == "cut off" and number == 1:
                return
        if self.fault != "no usage":
            yield json.dumps({"choices": [], "usage": {"completion_tokens": body["max_tokens"]}})
        yield "[DONE]"


@asynccontextmanager
async def serving(model: Model):
    handlers = []

    async def handle(reader, writer):
        handlers.append(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await model.serve(reader, writer)

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for handler in handlers:
        handler.cancel()
    await asyncio.gather(*handlers)
