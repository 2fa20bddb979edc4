"""Reading forms with a file (RFC 7578) from a body that is in memory already, and leaving all of it there.

Nothing is written to a disk. The parts are found by searching for the boundary, at memory speed, whatever the bytes
between are; their number and the sizes of all texts are bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

from deployments.errors import BadRequest, UnsupportedMediaType

MULTIPART = "multipart/form-data"
MAX_PARTS = 64
MAX_HEADER_BYTES = 4096
MAX_FIELD_BYTES = 65_536
MAX_BOUNDARY = 70
"""RFC 2046, 5.1.1."""
OVERHEAD_BYTES = 262_144
"""What all of a form but its file may have."""


@dataclass(frozen=True, slots=True)
class Form:
    """The texts and files of a form by the names of their fields, each in the order in which it came."""

    texts: Mapping[str, list[str]]
    files: Mapping[str, list[bytes]]


def boundary_of(content_type: str) -> bytes:
    """Return what separates the parts; raises UnsupportedMediaType for anything but a form, BadRequest without one."""
    header = _header("content-type", content_type)
    if header.get_content_type() != MULTIPART:
        raise UnsupportedMediaType(f"The request's content type must be {MULTIPART}.")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary or len(boundary) > MAX_BOUNDARY or not boundary.isascii():
        raise BadRequest("The request's content type must name the boundary of its parts.")
    return boundary.encode()


def parsed(body: bytes, boundary: bytes) -> Form:
    """Return the form in `body`; raises BadRequest, which says what is wrong with it."""
    texts: dict[str, list[str]] = {}
    files: dict[str, list[bytes]] = {}
    for head, content in _parts(body, b"--" + boundary):
        name, filename = described(head)
        if filename is not None:
            files.setdefault(name, []).append(content)
        else:
            texts.setdefault(name, []).append(text_of(name, content))
    return Form(texts, files)


def _parts(body: bytes, delimiter: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers and the content of each part."""
    found: list[tuple[bytes, bytes]] = []
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        raise BadRequest("The request's body holds no parts with the boundary that its content type names.")
    while True:
        at += len(delimiter)
        if body.startswith(b"--", at):
            return found
        start = body.find(b"\r\n", at) + 2
        stop = body.find(b"\r\n" + delimiter, max(start - 2, 0))
        if start == 1 or stop < 0 or body[at : start - 2].strip(b" \t"):
            raise BadRequest("The request's body was cut short: its last boundary is missing.")
        if len(found) == MAX_PARTS:
            raise BadRequest(f"A form may have at most {MAX_PARTS} parts.")
        found.append(_split(body, start, stop))
        at = stop + 2


def _split(body: bytes, start: int, stop: int) -> tuple[bytes, bytes]:
    blank = body.find(b"\r\n\r\n", start, min(stop + 2, start + MAX_HEADER_BYTES))
    if blank < 0:
        raise BadRequest(f"A part of the form has no headers, or more than {MAX_HEADER_BYTES} bytes of them.")
    return body[start:blank], body[blank + 4 : stop]


def described(head: bytes) -> tuple[str, str | None]:
    """Return the name of a part's field, and its file name where it is a file."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            header = _header("content-disposition", value.strip())
            field = header.get_param("name", header="content-disposition")
            if header.get_content_disposition() == "form-data" and isinstance(field, str) and field:
                return field, header.get_filename()
    raise BadRequest("A part of the form does not name its field.")


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message


def text_of(name: str, content: bytes) -> str:
    """Return the value of a field that is not a file; raises BadRequest."""
    if len(content) > MAX_FIELD_BYTES:
        raise BadRequest(f"'{name[:64]}' may have at most {MAX_FIELD_BYTES} bytes.", name[:64])
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"'{name[:64]}' is not text in UTF-8.", name[:64]) from None
