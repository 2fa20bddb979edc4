"""PDF files are read in a process of their own, and no file can do more there than take its time."""

import asyncio
import time
from pathlib import Path

import pytest

import ui.app
import ui.files.pdf
from tests.ui.auth.test_sign_in import signed_in
from tests.ui.conftest import Reader, page_for, until
from tests.ui.files.test_files import drops
from tests.ui.pdfs import locked, pdf, written
from tests.ui.stand_in import StandIn
from ui.files.pdf import Fault, PdfFault, PdfReader
from ui.files.pdf_process import CUT, MAX_CHARS, MAX_PAGES, answer
from ui.files.text_files import without_files
from ui.settings import ApiKey, Settings


async def test_the_text_of_all_pages() -> None:
    assert await PdfReader().text_of(pdf("The Rhine", "", "has 1,233 km")) == "The Rhine\n\nhas 1,233 km"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (locked(pdf("secret"), "open sesame"), "encrypted"),
        (pdf("", ""), "scanned"),
        (pdf("x")[:200], "broken"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 400, "broken"),
        (written([b""], kids="2 0 R"), "broken"),  # its pages hold themselves
    ],
    ids=["encrypted", "scanned", "cut", "noise", "loop"],
)
async def test_what_cannot_be_read_says_why(content: bytes, fault: Fault) -> None:
    with pytest.raises(PdfFault) as caught:
        await PdfReader().text_of(content)
    assert caught.value.fault == fault


def test_a_file_with_a_password_for_changes_only_is_read() -> None:
    assert answer(locked(pdf("open"), "")) == "text\nopen"


def test_pages_and_characters_are_bounded() -> None:
    assert answer(pdf(*["x"] * (MAX_PAGES + 1))).split() == ["text", *["x"] * MAX_PAGES, *CUT.split()]
    long = answer(pdf(*["y" * 60_000] * 6))
    assert MAX_CHARS <= len(long) < MAX_CHARS + 200 and long.endswith(CUT)


async def test_a_file_that_takes_for_ever_is_given_up_and_nobody_waits_for_it() -> None:
    endless = written([b"BT /F1 12 Tf " + b"(a) Tj 1 0 0 1 0 0 cm " * 4_000_000])
    assert len(endless) < 400_000
    worst = await _worst_gap_while(endless, PdfReader(timeout_s=1.5))
    assert worst < 0.5, f"the event loop stood still for {worst:.2f} s"


@pytest.mark.alone
async def test_a_bomb_takes_its_own_process_alone() -> None:
    bomb = written([bytes(1_200_000_000)])
    assert len(bomb) < 2_000_000
    assert await _worst_gap_while(bomb, PdfReader()) < 0.5


async def _worst_gap_while(content: bytes, reader: PdfReader) -> float:
    reading = asyncio.create_task(reader.text_of(content))
    worst, before = 0.0, time.perf_counter()
    while not reading.done():
        await asyncio.sleep(0.01)
        worst, before = max(worst, time.perf_counter() - before), time.perf_counter()
    with pytest.raises(PdfFault):
        await reading
    return worst


async def test_a_pdf_becomes_part_of_the_message(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "rivers.pdf", pdf("Rhine 1233 km"))
    await until(lambda: reader.texts("file-size") == ["3 tokens"])
    await drops(reader, "locked.pdf", locked(pdf("x"), "y"))
    await reader.sees("locked.pdf is password-protected.")
    reader.writes("How long is it?")
    await until(lambda: api.seen.finished == 1)
    (message,) = api.seen.requests[0]["input"]
    said, files = without_files(message["content"])
    assert (said, files[0].name, files[0].text) == ("How long is it?", "rivers.pdf", "Rhine 1233 km")


SLOW = """
import pathlib, sys, time
sys.stdin.buffer.read()
for mark in "+-":
    with pathlib.Path(__file__).with_suffix(".log").open("a") as log:
        log.write(mark)
    time.sleep(0.3 if mark == "+" else 0)
print("text")
print("read")
"""


async def test_the_files_of_many_keys_are_read_in_turn(
    api: StandIn, api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "slow.py"
    program.write_text(SLOW)
    monkeypatch.setattr(ui.files.pdf, "_PROGRAM", program)
    monkeypatch.setattr(ui.app, "MAX_OF_ALL_AT_ONCE", 1)
    api.keys["sk-of-bob"] = "Bob"
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        readers = [await signed_in(page), await signed_in(page, "sk-of-bob")]
        for each in readers:
            await drops(each, "a.pdf", pdf("x"))
        await until(lambda: all("a.pdf" in each.texts("file-name") and not each.texts("coming") for each in readers))
    assert program.with_suffix(".log").read_text() == "+-+-"
