"""`/v1/files`: OpenAI's files, for batches: what a batch is to do, and what came of it."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from deployments.api.http.bodies import stream_of
from deployments.api.http.multipart import MULTIPART, OVERHEAD_BYTES, boundary_of
from deployments.api.http.replies import JSON
from deployments.api.http.streamed_form import StreamedForm, streamed_form
from deployments.api.http.uploads import Uploads
from deployments.api.pages import page_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import Services, caller_of, services_of
from deployments.config import FileSettings
from deployments.errors import (
    BadRequest,
    BodyTooLarge,
    ChatLLMError,
    DiskFull,
    HistoryUnavailable,
    NotFound,
    StorageFull,
)
from deployments.files.types import FilesUsed, StoredFile, in_days
from deployments.files.writing import FileWriter, content_of
from deployments.keys.authenticator import Caller

router = APIRouter(prefix="/v1/files", tags=["files"])
CallerOf = Annotated[Caller, Depends(caller_of)]

ERRORS = (HistoryUnavailable,)
MAX_PAGE = 10_000
MAX_FILENAME = 255
SHORTEST_S, LONGEST_S = 3600, 2_592_000
"""OpenAI API reference, "Upload file": `expires_after.seconds`."""
BINARY = "application/octet-stream"

UPLOADS = Uploads("Too many files are being uploaded; please try again.")

Content = Annotated[str, msgspec.Meta(extra_json_schema={"format": "binary"}, description="The file.")]
Seconds = Annotated[int, msgspec.Meta(ge=SHORTEST_S, le=LONGEST_S)]


class FileForm(msgspec.Struct, forbid_unknown_fields=True):
    """A file to keep; a form, in which `file` has a file name."""

    file: Content
    purpose: Literal["batch"]
    expires_anchor: Literal["created_at"] | None = msgspec.field(default=None, name="expires_after[anchor]")
    expires_seconds: Seconds | None = msgspec.field(default=None, name="expires_after[seconds]")


class FileObject(msgspec.Struct):
    """A file without its content; times are in Unix seconds."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]


class FilePage(msgspec.Struct):
    """A page of files; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(msgspec.Struct):
    """A deleted file."""

    id: str
    object: Literal["file"]
    deleted: bool


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        FileForm,
        FileObject,
        example={"purpose": "batch", "file": "@requests.jsonl"},
        errors=(*ERRORS, StorageFull, DiskFull),
        media=MULTIPART,
    ),
)
async def create_file(request: Request, caller: CallerOf) -> Response:
    """Keep a file, sent as a form; it goes to the store as it comes, and is there once it has come whole."""
    services = services_of(request)
    settings, max_bytes = services.settings.files, caller.limits.file_bytes
    boundary = boundary_of(request.headers.get("content-type", ""))
    with UPLOADS.place(settings.max_uploads):
        _check_room(settings, max_bytes, await services.stores.files.used(caller.tenant))
        writer = FileWriter(
            services.stores.files,
            StoredFile(caller.tenant, "", "batch", in_days(settings.ttl_days)),
            lambda used: _check_room(settings, max_bytes, used),
        )
        await writer.begin()
        try:
            stored = await services.stores.files.finish(await _received(request, services, caller, writer, boundary))
        except BaseException:
            with suppress(ChatLLMError):
                await writer.discard()
            raise
    services.storage.forget(caller.tenant)
    return JSON(file_object(stored))


async def _received(
    request: Request, services: Services, caller: Caller, writer: FileWriter, boundary: bytes
) -> StoredFile:
    """Write what comes, and return the file that it is to be; raises BadRequest, BodyTooLarge or StorageFull."""
    settings, limit = services.settings.files, caller.limits.storage_bytes
    checked_at = 0

    async def save(data: bytes) -> None:
        nonlocal checked_at
        if writer.size + len(data) > settings.max_bytes:
            raise BodyTooLarge(f"The file is larger than {settings.max_bytes} bytes, the limit of this server.")
        await writer.write(data)
        if limit is not None and writer.size > checked_at:
            await services.storage.ensure_room(caller.tenant, limit, writer.size - checked_at)
            checked_at = writer.size

    body = stream_of(request, settings.max_bytes + OVERHEAD_BYTES, settings.upload_s)
    form = await streamed_form(body, boundary, "file", save)
    filename, expires_after_s = _settled(form)
    if not writer.size:
        raise BadRequest("The file is empty.", "file")
    await writer.flush()
    file = replace(writer.file, filename=filename)
    if expires_after_s is not None:
        file = replace(file, expires_at=file.created_at + timedelta(seconds=expires_after_s))
    return file


def _check_room(settings: FileSettings, max_bytes: int | None, used: FilesUsed) -> None:
    """Raise StorageFull past the bounds of a key's files; `max_bytes` are the key's own or the configuration's."""
    most = settings.max_bytes_per_key if max_bytes is None else max_bytes
    if used.bytes > most or used.files > settings.max_files_per_key:
        raise StorageFull(
            f"This key may keep {settings.max_files_per_key:,} files of {most:,} bytes together and keeps "
            f"{used.files:,} of {used.bytes:,}. Delete files that are no longer needed."
        )


def _settled(form: StreamedForm) -> tuple[str, int | None]:
    """Return the file's name and the seconds after which it expires, if the form says so; raises BadRequest."""
    given: dict[str, Any] = {"file": "", **form.texts}
    try:
        values = msgspec.convert(given, FileForm, strict=False)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.strip("`.[]") or "purpose"
        raise BadRequest(
            f"Invalid value for '{field}': {text}. The form has 'file', 'purpose' ('batch') and, if need be, "
            f"'expires_after[anchor]' ('created_at') and 'expires_after[seconds]' ({SHORTEST_S} to {LONGEST_S}).",
            field,
        ) from None
    if (values.expires_anchor is None) != (values.expires_seconds is None):
        raise BadRequest("'expires_after' has an 'anchor' and 'seconds'.", "expires_after")
    name = form.filename.replace("\\", "/").rpartition("/")[2] or "file"
    if len(name) > MAX_FILENAME:
        raise BadRequest(f"The file's name may have {MAX_FILENAME} characters.", "file")
    return name, values.expires_seconds


@router.get("", response_model=None, openapi_extra=documented(answer=FilePage, errors=(*ERRORS, NotFound)))
async def list_files(
    request: Request,
    caller: CallerOf,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
    purpose: str | None = None,
) -> Response:
    """List the key's files, newest first; `purpose` selects one kind."""
    page = await services_of(request).stores.files.files(caller.tenant, after, limit, order, purpose)
    return JSON(page_object(page, [file_object(file) for file in page.data]))


@router.get("/{file}", response_model=None, openapi_extra=documented(answer=FileObject, errors=ERRORS))
async def retrieve_file(request: Request, caller: CallerOf, file: str) -> Response:
    """Return one file without its content."""
    return JSON(file_object(await services_of(request).stores.files.file(caller.tenant, file)))


@router.get(
    "/{file}/content",
    response_model=None,
    response_class=Response,
    openapi_extra=documented(answer={"type": "string", "format": "binary"}, answer_media=BINARY, errors=ERRORS),
)
async def read_content(request: Request, caller: CallerOf, file: str) -> Response:
    """Return a file's content."""
    files = services_of(request).stores.files
    found = await files.file(caller.tenant, file)
    headers = {"content-length": str(found.bytes), "x-content-type-options": "nosniff"}
    return StreamingResponse(content_of(files, caller.tenant, file), 200, headers, BINARY)


@router.delete("/{file}", response_model=None, openapi_extra=documented(answer=DeletedFile, errors=ERRORS))
async def delete_file(request: Request, caller: CallerOf, file: str) -> Response:
    """Delete a file; a batch that has begun with it goes on."""
    await services_of(request).stores.files.delete(caller.tenant, file)
    services_of(request).storage.forget(caller.tenant)
    return JSON({"id": file, "object": "file", "deleted": True})


def file_object(file: StoredFile) -> dict[str, Any]:
    """Return a file as OpenAI's API shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": None if file.expires_at is None else int(file.expires_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
