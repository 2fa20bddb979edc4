"""Transcriptions over HTTP: forms as clients send them, every format of answers, bounds, and models that cannot."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest

from deployments.api.routes import speech
from deployments.config import Limits, ProviderModel, ScriptedModel, Timeouts
from tests.recordings import tone
from tests.unit.api.conftest import Service, running

WORDS = "The fox jumps. The dog sleeps."
FILE = tone(2, 16_000)
TIMES = "timestamp_granularities[]"
PATHS = ["/v1/audio/transcriptions", "/v1/audio/translations"]


@pytest.fixture
async def served() -> AsyncGenerator[Service]:
    """A service with a model that hears, one that only talks, and one of a provider."""
    models = (
        ScriptedModel(id="hears", kind="scripted", transcript=WORDS),
        ScriptedModel(id="talks", kind="scripted"),
        ProviderModel(id="far", kind="provider", model="openai:gpt", base_url="http://127.0.0.1:9/v1"),
    )
    async with running(*models, limits=Limits(max_audio_bytes=100_000, max_uploads=2)) as service:
        yield service


async def sent(service: Service, path: str = PATHS[0], file: Any = ("a.wav", FILE), **fields: Any) -> httpx.Response:
    """Post a form; a field whose value is None is left out."""
    data = {name: value for name, value in {"model": "hears", **fields}.items() if value is not None}
    return await service.http.post(path, data=data, files={"file": file})


@pytest.mark.parametrize("path", PATHS)
async def test_each_format_of_answers(served: Service, path: str) -> None:
    plain = await sent(served, path)
    assert plain.json() == {"text": WORDS, "usage": {"type": "duration", "seconds": 3}}
    assert plain.headers["x-chatllm-model"] == "hears" and plain.headers["x-cache"] == "BYPASS"
    text = await sent(served, path, response_format="text")
    assert (text.text, text.headers["content-type"]) == (f"{WORDS}\n", "text/plain; charset=utf-8")
    verbose = (await sent(served, path, response_format="verbose_json", language="de")).json()
    assert verbose["language"] == "de" and [one["text"] for one in verbose["segments"]] == [
        " The fox jumps.",
        " The dog sleeps.",
    ]
    srt = await sent(served, path, response_format="srt")
    assert srt.text == (
        "1\n00:00:00,000 --> 00:00:01,001\nThe fox jumps.\n\n2\n00:00:01,001 --> 00:00:02,001\nThe dog sleeps.\n\n"
    )
    vtt = await sent(served, path, response_format="vtt")
    assert vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.001\nThe fox jumps.\n\n00:00:01.001")


async def test_openais_sdk_whole_and_streamed(served: Service) -> None:
    key = served.http.headers["authorization"].removeprefix("Bearer ")
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0) as api:
        whole = await api.audio.transcriptions.create(model="hears", file=("a.wav", FILE))
        assert whole.text == WORDS
        stream = await api.audio.transcriptions.create(model="hears", file=("a.wav", FILE), stream=True)
        events = [event async for event in stream]
        assert [event.type for event in events] == ["transcript.text.delta"] * 6 + ["transcript.text.done"]
        assert "".join(getattr(event, "delta", "") for event in events) == WORDS
        done: Any = events[-1]
        assert done.text == WORDS and done.usage.output_tokens == 6
        assert done.usage.input_tokens == done.usage.input_token_details.audio_tokens > 0
        verbose = await api.audio.transcriptions.create(
            model="hears", file=("a.wav", FILE), response_format="verbose_json", timestamp_granularities=["segment"]
        )
        assert verbose.segments is not None and len(verbose.segments) == 2


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"response_format": "xml"}, "response_format", "Invalid value"),
        ({"response_format": "diarized_json"}, "response_format", "Invalid value"),
        ({"temperature": "3"}, "temperature", "2"),
        ({"temperature": "warm"}, "temperature", "number"),
        ({"stream": "perhaps"}, "stream", "Invalid value"),
        ({"stream": "true", "response_format": "srt"}, "stream", "response_format"),
        (
            {"timestamp_granularities[]": "word", "response_format": "verbose_json"},
            "timestamp_granularities[]",
            "words",
        ),
        ({"timestamp_granularities[]": "segment"}, "timestamp_granularities[]", "verbose_json"),
        ({"include[]": "logprobs"}, "include[]", "unknown field"),
        ({"colour": "red"}, "colour", "unknown field"),
        ({"chunking_strategy": "server_vad"}, "chunking_strategy", "Invalid value"),
        ({"prompt": "a" * 9000}, "prompt", "8192"),
        ({"language": ["de", "en"]}, "language", "more than once"),
        ({"file": "a text"}, "file", "one file"),
    ],
)
async def test_a_field_at_fault_is_named(served: Service, fields: dict[str, Any], param: str, words: str) -> None:
    data = {"model": "hears", **fields}
    answer = await served.http.post(PATHS[0], data=data, files={"file": ("a.wav", FILE)})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]


async def test_forms_that_are_none(served: Service) -> None:
    two = [("file", ("a.wav", FILE)), ("file", ("b.wav", FILE))]
    other = [("file", ("a.wav", FILE)), ("image", ("b.png", b"1"))]
    for files in (two, other, [("recording", ("a.wav", FILE))], [("file", ("a.wav", b""))]):
        answer = await served.http.post(PATHS[0], data={"model": "hears"}, files=files)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    kind = {"content-type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for body, words in (
        (b"", "no parts"),
        (b"--c\r\n", "no parts"),
        (part + FILE, "cut short"),
        (b"--b\r\n\r\n\r\n\r\n--b--", "does not name"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "does not name"),
        (b"--b\r\nX: " + b"a" * 5000 + b"\r\n\r\nx\r\n--b--", "headers"),
        (b"\r\n".join([b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx'] * 65) + b"\r\n--b--", "parts"),
    ):
        answer = await served.http.post(PATHS[0], content=body, headers=kind)
        assert answer.status_code == 400 and words in answer.json()["error"]["message"], words
    for content_type, status in (("application/json", 415), ("multipart/form-data", 400)):
        answer = await served.http.post(PATHS[0], content=b"{}", headers={"content-type": content_type})
        assert answer.status_code == status


async def test_the_order_of_fields_is_free_and_boundaries_inside_of_a_file_are_not_taken_for_one(
    served: Service,
) -> None:
    inside = FILE + b"\r\n--bb\r\n--\r\n"
    head = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    body = b"preamble\r\n" + head % (b"file", b'; filename="a"') + inside.replace(b"--bb", b"-- b") + b"\r\n"
    body += head % (b"response_format", b"") + b"text\r\n" + head % (b"model", b"") + b"hears\r\n--b--\r\nepilogue"
    kind = {"content-type": 'multipart/form-data; boundary="b"'}
    answer = await served.http.post(PATHS[0], content=body, headers=kind)
    assert (answer.status_code, answer.text) == (200, f"{WORDS}\n")


async def test_bounds_of_bytes_and_time(served: Service) -> None:
    too_large = await sent(served, file=("a.wav", bytes(100_001)))
    assert too_large.status_code == 413 and "100000 bytes" in too_large.json()["error"]["message"]
    far_too_large = await sent(served, file=("a.wav", bytes(1_000_000)))
    assert far_too_large.status_code == 413
    assert await status_of(served, f"Content-Length: {1 << 40}\r\n\r\n") == 413  # before anything of it was sent
    for _ in range(2):
        assert (await sent(served)).status_code == 200  # a refusal gives its place back
    hears = ScriptedModel(id="hears", kind="scripted", transcript="a")
    async with running(hears, timeouts=Timeouts(upload_s=0.2)) as impatient:
        assert await status_of(impatient, "Transfer-Encoding: chunked\r\n\r\n5\r\n--b\r\n\r\n") == 408


async def status_of(service: Service, begun: str) -> int:
    """Send an upload's head and `begun`, and nothing more; return the status of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
    head = f"POST {PATHS[0]} HTTP/1.1\r\nHost: a\r\nAuthorization: {service.http.headers['authorization']}\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=b\r\n{begun}".encode())
    _, status, _ = (await reader.readline()).split(maxsplit=2)
    writer.close()
    return int(status)


async def test_more_recordings_than_fit_are_refused() -> None:
    slow = ScriptedModel(id="hears", kind="scripted", transcript="a b c", prefill_ms=60_000)
    async with running(slow, limits=Limits(max_uploads=1)) as service:
        first = asyncio.create_task(sent(service))
        while not service.models.replicas["hears"]._running:
            await asyncio.sleep(0.01)
        second = await sent(service)
        assert second.status_code == 503 and second.headers["retry-after"]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        while service.models.replicas["hears"]._running:  # the client has gone, and with it the model's work
            await asyncio.sleep(0.01)
        while speech.UPLOADS._held:
            await asyncio.sleep(0.01)


async def test_a_stream_whose_client_leaves_ends_the_models_work() -> None:
    slow = ScriptedModel(id="hears", kind="scripted", transcript="word " * 1000, token_ms=50)
    async with running(slow) as service:
        form = {"data": {"model": "hears", "stream": "true"}, "files": {"file": ("a.wav", FILE)}}
        async with service.http.stream("POST", PATHS[0], **form) as answer:
            async for line in answer.aiter_lines():
                assert "transcript.text.delta" in line
                break
        while service.models.replicas["hears"]._running:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "words"), [(PATHS[0], "transcription"), (PATHS[1], "translation of speech")], ids=["written", "translated"]
)
async def test_a_model_that_cannot_is_named(served: Service, path: str, words: str) -> None:
    for model in ("talks", "far"):
        answer = await sent(served, path, model=model)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "model")
        assert error["message"] == f"The model '{model}' does not support {words}."
    unknown = await sent(served, path, model="nobody")
    assert unknown.status_code == 404
    spoken = await served.http.post("/v1/audio/speech", json={"model": "hears", "input": "a", "voice": "b"})
    assert spoken.status_code == 400 and "does not speak" in spoken.json()["error"]["message"]


async def test_it_is_metered_and_limited_as_all_else(served: Service) -> None:
    without = await served.http.post(PATHS[0], headers={"authorization": "Bearer sk-chatllm-wrong"})
    assert without.status_code == 401
    answer = await sent(served)
    assert answer.headers["x-request-id"]
    assert (await served.http.get("/v1/models/hears")).json()["output_modalities"] == ["text", "transcripts"]
    while served.usage.pending:
        await asyncio.sleep(0.01)
    total = (await served.http.get("/v1/usage")).json()["total"]
    assert (total["requests"], total["prompt_tokens"], total["completion_tokens"]) == (1, 200, 6)
