"""Stories of files that go along with a message."""

import asyncio
import threading
import time

import pytest
from nicegui import ui
from nicegui.elements.upload_files import SmallFileUpload

from tests.ui.conftest import Reader, until
from tests.ui.stand_in import StandIn
from ui.chat import attachments
from ui.files.charsets import decoded
from ui.files.message import Composed, pieces
from ui.files.pdf import MAX_PDF_BYTES
from ui.files.text_files import MAX_FILE_BYTES, MAX_FILES, TextFile, with_files, without_files


async def drops(reader: Reader, name: str, content: bytes) -> None:
    with reader:
        (upload,) = reader.find(marker="files", kind=ui.upload).elements
    await upload.handle_uploads([SmallFileUpload(name, "text/plain", content)])


async def test_a_file_shows_its_tokens_and_becomes_part_of_the_message(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "rivers.csv", b"name,km\nRhine,1233\nwith three words")
    await until(lambda: reader.texts("file-size") == ["3 tokens"])
    await drops(reader, "left out.txt", b"never sent")
    await until(lambda: len(reader.texts("file-name")) == 2)
    reader.clicks("drop-file-1")
    reader.writes("Which one is longest?")
    await until(lambda: api.seen.finished == 1)
    (message,) = api.seen.requests[0]["input"]
    expected = "Which one is longest?\n\nFile `rivers.csv`:\n```\nname,km\nRhine,1233\nwith three words\n```"
    assert message["content"] == expected
    assert reader.texts("bubble") == ["Which one is longest?"] and not reader.texts("file-name")
    assert reader.texts("entry-link") == ["Which one is longest?"]
    await reader.sees("Rhine,1233")


async def test_what_is_sent_while_a_file_is_read_goes_once_it_has_been_read(
    reader: Reader, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def read_slowly(content: bytes) -> str | None:
        go_on.wait(15)
        return decoded(content)

    monkeypatch.setattr(attachments, "decoded", read_slowly)
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    reading = asyncio.create_task(drops(reader, "rivers.csv", b"Rhine,1233"))
    await until(lambda: reader.texts("file-size") == ["reading…"])
    for _ in range(3):  # sent, kept after all, sent
        reader.writes("Which one is longest?")
        await asyncio.sleep(0.05)
    await reader.sees("Your message will be sent once its files have been read")
    assert not api.seen.requests and not reader.texts("bubble")
    go_on.set()
    await reading
    await until(lambda: api.seen.finished == 1)
    assert "Rhine,1233" in api.seen.requests[0]["input"][0]["content"]
    assert not reader.texts("hint held") and not reader.texts("file-name")


async def test_what_waits_for_a_file_that_is_refused_is_not_sent_without_it(
    reader: Reader, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def read_slowly(content: bytes) -> str | None:
        go_on.wait(15)
        return None

    monkeypatch.setattr(attachments, "decoded", read_slowly)
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    reading = asyncio.create_task(drops(reader, "rivers.csv", b"Rhine,1233"))
    await until(lambda: reader.texts("file-size") == ["reading…"])
    reader.writes("Which one is longest?")
    go_on.set()
    await reading
    await reader.sees("rivers.csv has an unsupported format")
    await asyncio.sleep(0.2)
    assert not api.seen.requests and not reader.texts("bubble")
    assert reader.texts("hint") == ["Enter to send · Shift + Enter for a new line · Answers may be incorrect"]
    reader.writes("Which one is longest?")  # without it, then
    await until(lambda: api.seen.finished == 1)


async def test_a_file_in_an_old_character_set_is_read(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "prices.csv", "Straße;Größe\nKönigsallee;12 €".encode("cp1252"))
    await drops(reader, "notes.txt", "Über den Fluss".encode("utf-16"))
    await until(lambda: len(reader.texts("file-name")) == 2)
    reader.writes("What is this?")
    await until(lambda: api.seen.finished == 1)
    content = api.seen.requests[0]["input"][0]["content"]
    assert "Straße;Größe\nKönigsallee;12 €" in content and "Über den Fluss" in content


async def test_what_is_no_text_is_refused_with_a_word(reader: Reader) -> None:
    await reader.open("/")
    await drops(reader, "program", b"\x7fELF\x00\xff")
    await reader.sees("program has an unsupported format. Supported are text, code, CSV, PDF, and images.")
    await drops(reader, "long.txt", b"x" * (MAX_FILE_BYTES + 1))
    await reader.sees("long.txt is too large. Text files can be up to 256 KB.")
    await drops(reader, "long.pdf", b"%PDF-1.4".ljust(MAX_PDF_BYTES + 1))
    await reader.sees("Files can be up to 10 MB.")
    for number in range(MAX_FILES + 1):
        await drops(reader, f"{number}.txt", b"x")
    await reader.sees(f"A message can have up to {MAX_FILES} files.")
    assert len(reader.texts("file-name")) == MAX_FILES


async def test_a_file_that_the_model_cannot_take_is_told_before_it_is_sent(reader: Reader, api: StandIn) -> None:
    api.behaviour.models, api.behaviour.max_model_len = {"guide": "ready", "large": "ready"}, 4_096
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "rivers.csv", b"km " * 25_001)
    fault = "Too large for guide: the limit is 4,096 tokens, and this message has 25,001."
    await until(lambda: reader.texts("file-refused") == [fault])
    reader.writes("Which one is longest?")
    await asyncio.sleep(0.3)
    assert not api.seen.requests and not reader.texts("bubble") and reader.texts("file-name") == ["rivers.csv"]
    api.behaviour.max_model_len = 32_768
    reader.clicks("picker")
    await reader.sees_marked("model-large")
    reader.clicks("model-large")
    await until(lambda: not reader.texts("file-refused"))
    reader.writes("Which one is longest?")
    await until(lambda: api.seen.finished == 1)


async def test_a_message_that_the_model_cannot_take_stays_with_a_word(reader: Reader, api: StandIn) -> None:
    api.behaviour.max_model_len = 4_096
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    reader.writes("km " * 5_000)
    fault = "Too large for guide: the limit is 4,096 tokens, and this message has 5,000."
    await until(lambda: reader.texts("hint") == [fault])
    assert not api.seen.requests and not reader.texts("bubble")
    reader.writes("km " * 4_000)
    await until(lambda: api.seen.finished == 1)


@pytest.mark.parametrize("text", ["plain", "```\nfence\n```", "a ```` b", "File `x`:\n```\ny\n```", ""])
def test_no_file_can_close_its_own_fence(text: str) -> None:
    assert without_files(with_files("Look:", [TextFile("a.md", text)])) == ("Look:", [TextFile("a.md", text)])


def test_a_file_that_nothing_closes_stays_text_and_the_next_one_is_a_file() -> None:
    message = "a\n\n\nFile `open`:\n````\nx\n\nFile `b`:\n```\ny\n```\n\nand on"
    text, files = without_files(message)
    assert text == "a\n\n\nFile `open`:\n````\nx\n\nand on" and files == [TextFile("b", "y")]


@pytest.mark.parametrize(
    "message",
    [
        "a" + "\n" * 30_000 + "b",
        "".join("File `a`:\n" + "`" * length + "\n" for length in range(3, 1_200)) + "x",
        "a" + "\n\n![](data:image/png;base64,AAAAAAAA)" * 8_000 + "x",
    ],
    ids=["blank lines", "fences without an end", "images before the end"],
)
def test_a_message_made_to_be_slow_is_taken_apart_in_one_pass(message: str) -> None:
    began = time.process_time()
    assert pieces(message) == Composed(message)
    assert time.process_time() - began < 0.5
