"""`/v1/audio/…`: recordings become text, for models that can; no model speaks."""

import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

import msgspec
import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api import transcripts
from deployments.api.exchange import exchange
from deployments.api.http.bodies import body_of
from deployments.api.http.multipart import MULTIPART, OVERHEAD_BYTES, Form, boundary_of, parsed
from deployments.api.http.requests import checked
from deployments.api.http.uploads import Uploads
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.transcripts import Transcript, TranscriptEvent
from deployments.api.services import cache_control_of, caller_of, services_of, wait_of
from deployments.api.stateless import ERRORS
from deployments.chat.call import Answer, ChatCall
from deployments.chat.summary import Summary
from deployments.errors import BadRequest, BodyTooLarge
from deployments.infra.threads import run_sized
from deployments.limits.estimate import Weight
from deployments.models.protocol import Endpoint

router = APIRouter(tags=["speech"])

BYTES_PER_TOKEN = 320
"""Of a recording, to estimate it: uncompressed speech has 100 frames of 320 bytes in a second."""
MAX_PROMPT_CHARACTERS = 8192

File = Annotated[str, msgspec.Meta(extra_json_schema={"format": "binary"}, description="The recording.")]
Prompt = Annotated[str, msgspec.Meta(max_length=MAX_PROMPT_CHARACTERS)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Format = Literal["json", "text", "srt", "verbose_json", "vtt"]


class TranslationForm(msgspec.Struct, forbid_unknown_fields=True):
    """A recording whose words are to be told in English; `language` is the one that is spoken."""

    file: File
    model: str | None = None
    language: str | None = None
    prompt: Prompt | None = None
    response_format: Format = "json"
    temperature: Temperature | None = None
    seed: int | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class TranscriptionForm(TranslationForm, forbid_unknown_fields=True):
    """A recording whose words are to be written down."""

    stream: bool = False
    timestamp_granularities: list[Literal["segment"]] | None = msgspec.field(
        default=None, name="timestamp_granularities[]"
    )
    chunking_strategy: Literal["auto"] | None = None


LISTS = ("timestamp_granularities[]",)
"""What a form may hold several times. Some clients leave the brackets out."""

FINISHED: Mapping[str, tuple[Callable[[Mapping[str, Any]], bytes], str]] = {
    "json": (transcripts.json, "application/json"),
    "text": (transcripts.text, transcripts.TEXT_TYPE),
    "srt": (transcripts.srt, transcripts.TEXT_TYPE),
    "vtt": (transcripts.vtt, transcripts.TEXT_TYPE),
    "verbose_json": (transcripts.verbose_json, "application/json"),
}
"""What becomes of a model's answer for each `response_format`."""

WITH_TIMES = ("srt", "vtt", "verbose_json")

EXAMPLE = {"model": "whisper", "file": "@recording.mp3"}
TRANSCRIBE = documented(
    TranscriptionForm, Transcript, example=EXAMPLE, events=TranscriptEvent, errors=ERRORS, media=MULTIPART
)
TRANSLATE = documented(TranslationForm, Transcript, example=EXAMPLE, errors=ERRORS, media=MULTIPART)


UPLOADS = Uploads("Too many recordings are being transcribed; please try again.")


@router.post("/v1/audio/transcriptions", response_model=None, openapi_extra=TRANSCRIBE)
async def create_transcription(request: Request) -> Response:
    """Write down what is said in a recording, streamed or whole; a 400 names a model that cannot."""
    return await _heard(request, "transcription", TranscriptionForm)


@router.post("/v1/audio/translations", response_model=None, openapi_extra=TRANSLATE)
async def create_translation(request: Request) -> Response:
    """Tell in English what is said in a recording; a 400 names a model that cannot."""
    return await _heard(request, "translation", TranslationForm)


async def create_speech(request: Request) -> Response:
    """Refuse to speak: another model would do no better."""
    await caller_of(request)
    raise BadRequest("The model does not speak, nor does any other model that this server offers.", "model")


router.add_route("/v1/audio/speech", create_speech, methods=["POST"], include_in_schema=False)


async def _heard(request: Request, endpoint: Endpoint, schema: type[TranslationForm]) -> Response:
    services, caller = services_of(request), await caller_of(request)
    with UPLOADS.place(services.settings.limits.max_uploads):
        form = await _form(request)
        file, body = _settled(form, schema, services.settings.limits.max_audio_bytes)
        control, wait_s = cache_control_of(request), wait_of(request)
        call = ChatCall(secrets.token_hex(16), caller.tenant, body, endpoint, control, wait_s, file)
        wanted: str = form.texts.get("response_format", [""])[0] or "json"

        async def work(summary: Summary) -> Answer:
            answer = await services.chat.ask(call, summary)
            if answer.frames is not None:
                if answer.waits_for is not None:
                    await anext(answer.frames)  # a recording keeps its place until its answer begins
                return Answer(frames=transcripts.events(answer.frames))
            return await run_sized(len(answer.body), _finished, answer, wanted)

        assumed = services.settings.key_limits.assumed_answer_tokens
        weight = Weight(answer_tokens=assumed, prompt_tokens=max(1, len(file) // BYTES_PER_TOKEN))
        return await exchange(request, services, caller, call.streams, work, weight)


async def _form(request: Request) -> Form:
    """Return the form that the request's body is, read within bounds of bytes and time."""
    settings = services_of(request).settings
    boundary = boundary_of(request.headers.get("content-type", ""))
    body = await body_of(request, settings.limits.max_audio_bytes + OVERHEAD_BYTES, settings.timeouts.upload_s)
    request.state.body_bytes = len(body)
    form = await run_sized(len(body), parsed, body, boundary)
    request.state.timing.mark("body")
    return form


def _settled(form: Form, schema: type[TranslationForm], max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """Return the recording and the request as the model is to see it; raises BadRequest or BodyTooLarge."""
    file = _file(form, max_bytes)
    given: dict[str, Any] = {"file": ""}
    for name, values in form.texts.items():
        listed = f"{name}[]" if f"{name}[]" in LISTS else name
        if listed not in LISTS and len(values) > 1:
            raise BadRequest(f"'{name[:64]}' is given more than once.", name[:64])
        if listed in LISTS:
            given[listed] = [*given.get(listed, []), *values]
        elif values[0]:
            given[name] = values[0]
    _check_granularities(given)
    values = _typed(given, schema)
    kept = {name: values[name] for name in SENT if values.get(name) is not None}
    wanted = values["response_format"]
    if values.get("stream"):
        if wanted in WITH_TIMES:
            raise BadRequest(f"'response_format' must be 'json' or 'text' for a stream, not '{wanted}'.", "stream")
        kept |= {"stream": True, "stream_options": {"include_usage": True}}
    return file, {**kept, "response_format": "verbose_json" if wanted in WITH_TIMES else "json"}


SENT = ("model", "language", "prompt", "temperature", "seed", "max_completion_tokens")
"""What the model sees as it was given."""


def _file(form: Form, max_bytes: int) -> bytes:
    files = form.files.get("file", [])
    if len(files) != 1 or len(form.files) > 1 or "file" in form.texts:
        raise BadRequest("The form must contain one file, in the field 'file' and with a file name.", "file")
    if not files[0]:
        raise BadRequest("The recording is empty.", "file")
    if len(files[0]) > max_bytes:
        raise BodyTooLarge(f"The recording is larger than {max_bytes} bytes, the limit of this server.")
    return files[0]


def _check_granularities(given: Mapping[str, Any]) -> None:
    wanted: list[str] | None = given.get(LISTS[0])
    if wanted is None:
        return
    if "word" in wanted:
        raise BadRequest("Times of words are not supported; those of segments are.", LISTS[0])
    if given.get("response_format") != "verbose_json":
        raise BadRequest("'timestamp_granularities[]' needs 'response_format' to be 'verbose_json'.", LISTS[0])


def _typed(given: dict[str, Any], schema: type[TranslationForm]) -> dict[str, Any]:
    """Return the values of a form, which are all texts, as what they should be; raises BadRequest."""
    try:
        values = msgspec.convert(given, schema, strict=False)
    except msgspec.ValidationError:
        checked({name: _value(name, value) for name, value in given.items()}, schema, 0)
        raise BadRequest("The form is not valid.") from None
    return cast("dict[str, Any]", msgspec.to_builtins(values))


def _value(name: str, value: Any) -> Any:
    """Return a form's value as JSON would have it, for an error that speaks of what was meant."""
    if name in ("temperature", "seed", "max_completion_tokens", "stream"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _finished(answer: Answer, wanted: str) -> Answer:
    finish, media_type = FINISHED[wanted]
    return Answer(finish(orjson.loads(answer.body)), media_type=media_type)
