"""Stories of images: shown to a model that can see, kept, and shown again."""

import base64
from typing import Any

import pytest
from nicegui import ui

from tests.ui.auth.test_sign_in import signed_in
from tests.ui.conftest import Reader, page_for, until
from tests.ui.files.test_files import drops
from tests.ui.stand_in import StandIn
from ui.api.schema import Message, Part
from ui.files.images import MAX_IMAGE_BYTES, MAX_IMAGES, content_parts, data_url, kind_of
from ui.files.message import Composed, pieces
from ui.files.text_files import TextFile
from ui.settings import ApiKey, Settings

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ADDRESS = data_url(PNG, "image/png")


def pictures(reader: Reader, css_class: str) -> list[Any]:
    with reader:
        shown = reader.find(kind=ui.element).elements
    return [element.props["src"] for element in shown if element.tag == "img" and css_class in element.classes]


async def test_an_image_is_asked_about_and_is_there_after_a_reload(reader: Reader, api: StandIn) -> None:
    api.behaviour.sees = True
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "dot.png", PNG)
    await until(lambda: pictures(reader, "file-image") == [ADDRESS])
    reader.writes("What is it?")
    await until(lambda: api.seen.finished == 1)
    (message,) = api.seen.requests[0]["input"]
    assert message["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": ADDRESS, "detail": "auto"},
    ]
    assert reader.texts("entry-link") == ["What is it?"] and pictures(reader, "question-image") == [ADDRESS]
    await reader.open(f"/c/{next(iter(api.conversations))}")
    await until(lambda: pictures(reader, "question-image") == [ADDRESS])

    reader.clicks("edit-0")
    reader.find(marker="editor-0").clear().type("And now?")
    reader.clicks("resend-0")
    await until(lambda: api.seen.finished == 2)
    assert api.seen.requests[1]["input"][0]["content"][1]["image_url"] == ADDRESS


async def test_who_cannot_see_says_so_and_what_is_too_much_is_refused(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "dot.png", PNG)
    await reader.sees("guide cannot see images.")
    assert not reader.texts("file-name")


async def test_who_has_signed_in_shows_images_too(api: StandIn, api_url: str) -> None:
    api.behaviour.sees = True
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        reader = await signed_in(page)
        await until(lambda: not reader.texts("status-title"))
        await drops(reader, "dot.png", PNG)
        await until(lambda: pictures(reader, "file-image") == [ADDRESS])


async def test_images_are_bounded_in_size_and_number(reader: Reader, api: StandIn) -> None:
    api.behaviour.sees = True
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "big.png", PNG + bytes(MAX_IMAGE_BYTES))
    await reader.sees("big.png is too large. Images can be up to 700 KB.")
    for number in range(MAX_IMAGES + 1):
        await drops(reader, f"{number}.png", PNG)
    await reader.sees(f"A message can have up to {MAX_IMAGES} images.")
    assert len(pictures(reader, "file-image")) == MAX_IMAGES


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF0000WEBPVP8 ", "image/webp"),
        (b"RIFF0000WAVE", ""),
        (b"<svg onload='x'/>", ""),
        (b"", ""),
    ],
)
def test_images_are_told_by_their_first_bytes(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind


@pytest.mark.parametrize("text", ["", "Look", "two\n\nparagraphs", f"![]({ADDRESS}) first", "`a`"])
@pytest.mark.parametrize("files", [[], [TextFile("a.md", f"![]({ADDRESS})")]])
@pytest.mark.parametrize("images", [[], [ADDRESS], [ADDRESS, ADDRESS]])
def test_a_message_is_put_together_and_taken_apart(text: str, files: list[TextFile], images: list[str]) -> None:
    composed = Composed(text, files, images)
    assert pieces(composed.message) == composed
    content = content_parts(composed.message)
    stored = content if isinstance(content, list) else [{"type": "input_text", "text": content}]
    assert Message(id="m", content=[Part(**part) for part in stored]).text == composed.message


@pytest.mark.parametrize("address", ["https://example.org/x.png", "data:image/svg+xml;base64,AAAAAAAA", "javascript:1"])
def test_no_other_address_is_ever_an_image(address: str) -> None:
    assert pieces(f"Look\n\n![]({address})").images == []
    part = Part(type="input_image", image_url=address)
    assert Message(id="m", content=[Part(type="input_text", text="Look"), part]).text == "Look"
