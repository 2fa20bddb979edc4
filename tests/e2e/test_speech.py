"""Transcriptions out of the box: the model of configs/speech.yaml on the real engine, through OpenAI's SDK.

The recording is a sentence that espeak-ng speaks, of which the model understands the second half well.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Any

import httpx
import openai
import pytest
import yaml

from tests.launched import ROOT, Launched, launched
from tests.recordings import SENTENCE, repeated, tone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MODEL = "whisper"
HEARD = "The capital of France is Paris."


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The shipped file without its chat model, which has tests of its own, and with a scripted one beside it."""
    document = yaml.safe_load((ROOT / "configs/speech.yaml").read_text())
    talks = {"id": "talks", "kind": "scripted"}
    for application in document["applications"]:
        if application["name"] == "model-smollm2":
            options = [{"name": "model-talks", "ray_actor_options": {"num_cpus": 0.1}}]
            application |= {"name": "model-talks", "args": talks, "deployments": options}
    with launched(document) as running:
        headers = {"authorization": f"Bearer {running.key}"}
        # `talks` is ready before it.
        while httpx.get(f"{running.url}/v1/models/{MODEL}", headers=headers).json()["status"] == "loading":
            time.sleep(0.2)
        yield running


@pytest.fixture
def api(service: Launched) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0) as client:
        yield client


def test_a_sentence_is_understood_in_every_form(api: openai.OpenAI) -> None:
    recording = SENTENCE.read_bytes()
    whole = api.audio.transcriptions.create(model=MODEL, file=("a.flac", recording))
    usage: Any = whole.usage
    assert whole.text.endswith(HEARD) and not whole.text.startswith(" ")
    assert (usage.type, usage.seconds) == ("duration", 7)

    stream = api.audio.transcriptions.create(model=MODEL, file=("a.flac", recording), language="en", stream=True)
    events: list[Any] = list(stream)
    deltas = [event.delta for event in events[:-1]]
    assert len(deltas) > 5 and "".join(deltas) == events[-1].text and events[-1].text.endswith(HEARD)
    assert events[-1].type == "transcript.text.done" and events[-1].usage.input_token_details.audio_tokens == 611

    verbose = api.audio.transcriptions.create(
        model=MODEL,
        file=("a.flac", recording),
        response_format="verbose_json",
        timestamp_granularities=["segment"],
    )
    assert verbose.language == "en" and verbose.duration == pytest.approx(6.1, abs=0.1)
    assert verbose.segments and 3 < verbose.segments[-1].end < 7 and HEARD in verbose.text
    misled = api.audio.transcriptions.create(
        model=MODEL, file=("a.flac", recording), response_format="verbose_json", prompt="A fox, and a capital."
    )
    assert isinstance(misled.segments, list)  # a model may hear nothing, as this one does after that prompt
    subtitles = str(api.audio.transcriptions.create(model=MODEL, file=("a.flac", recording), response_format="srt"))
    assert subtitles.startswith("1\n00:00:00,") and HEARD in " ".join(subtitles.split())


def test_a_recording_longer_than_the_models_window_comes_in_pieces(api: openai.OpenAI) -> None:
    whole = api.audio.transcriptions.create(model=MODEL, file=("a.wav", repeated(7)), language="en")
    assert whole.text.count("Paris") >= 6
    parts = api.audio.transcriptions.create(model=MODEL, file=("a.wav", repeated(7)), language="en", stream=True)
    done: Any = list(parts)[-1]
    assert done.text.count("Paris") >= 6
    assert done.usage.input_token_details.audio_tokens == pytest.approx(4274, abs=20)


def test_what_cannot_be_heard_is_a_400(api: openai.OpenAI, service: Launched) -> None:
    for recording, words in (
        (repeated(1)[:40], "damaged"),
        (tone(0.05), "shorter than 0.1 s"),
        (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "no format"),
        (tone(1501, 2000), "longer than 1500 s"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            api.audio.transcriptions.create(model=MODEL, file=("a.wav", recording))
        assert words in refused.value.message and refused.value.param == "file"
    with pytest.raises(openai.BadRequestError) as foreign:
        api.audio.transcriptions.create(model=MODEL, file=("a.wav", tone(1)), language="xx")
    assert foreign.value.param == "language"
    with pytest.raises(openai.BadRequestError, match="does not support transcription"):
        api.audio.transcriptions.create(model="talks", file=("a.wav", tone(1)))
    with pytest.raises(openai.BadRequestError, match="does not support chat"):
        api.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello."}])
    shown: Any = api.models.retrieve(MODEL)
    assert shown.output_modalities == ["transcripts"] and "audio" in shown.input_modalities


async def test_a_client_that_leaves_ends_the_engines_work(service: Launched) -> None:
    headers = {"authorization": f"Bearer {service.key}"}
    form: dict[str, Any] = {"data": {"model": MODEL, "language": "en"}, "files": {"file": ("a.wav", repeated(100))}}
    async with httpx.AsyncClient(headers=headers, timeout=120, base_url=f"{service.url}/v1") as client:

        async def running() -> int:
            """Return how many requests the model's engine holds."""
            return (await client.get(f"/models/{MODEL}")).json()["running"]

        assert await running() == 0
        asked = asyncio.create_task(client.post("/audio/transcriptions", **form))
        while (pieces := await running()) < 10 and not asked.done():
            await asyncio.sleep(0.05)
        assert pieces >= 10, "all pieces of the recording wait for the engine"
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        began = time.monotonic()
        while await running():
            assert time.monotonic() - began < 15, "the engine goes on"
            await asyncio.sleep(0.05)
