"""Images in a message: Markdown, `![](data:…)`, in the page; content parts in requests to the service.

A message therefore is one text everywhere in the page: it is compared, edited, exported, and
imported with its images.
"""

import base64
import re
from collections.abc import Sequence
from typing import Any

MAX_IMAGE_BYTES = 700 * 1024  # files.js makes larger ones smaller; what a conversation is read with holds 1 MiB
MAX_IMAGES = 4
_BEGINNINGS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_URL = r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]{8,1400000}={0,2}"
_IMAGE = re.compile(rf"!\[\]\(({_URL})\)")


def kind_of(content: bytes) -> str:
    """Return the media type of an image by its first bytes; "" for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), "")


def data_url(content: bytes, kind: str) -> str:
    """Return an image as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def is_data_url(address: str) -> bool:
    """Whether an address is a data URL of a supported image type."""
    return re.fullmatch(_URL, address) is not None


def with_images(text: str, addresses: Sequence[str]) -> str:
    """Return a message with its images appended."""
    return "\n\n".join([text, *(f"![]({address})" for address in addresses)]).strip()


def without_images(message: str) -> tuple[str, list[str]]:
    """Return a message's text, and the addresses of its images at its end: a file may hold such lines, too."""
    addresses: list[str] = []
    end = len(message)
    while (begin := message.rfind("![](", 0, end)) >= 0 and (image := _IMAGE.fullmatch(message, begin, end)):
        if begin and message[max(0, begin - 2) : begin] != "\n\n":
            break
        addresses.append(image[1])
        end = max(0, begin - 2)
    return message[:end], addresses[::-1]


def content_parts(message: str) -> Any:
    """Return a message in the API's format: a text, or content parts if it has images."""
    text, addresses = without_images(message)
    if not addresses:
        return message
    content_items = [{"type": "input_text", "text": text}] if text else []
    return content_items + [{"type": "input_image", "image_url": address, "detail": "auto"} for address in addresses]
