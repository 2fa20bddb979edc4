"""Files come in by the button, dropped and pasted; what only a browser can tell."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP, keep, visit
from tests.ui.files.test_images import PNG
from tests.ui.pdfs import pdf
from tests.ui.stand_in import StandIn
from ui.files.images import MAX_IMAGE_BYTES

pytestmark = pytest.mark.browser


@pytest.fixture
def api() -> StandIn:
    """A service whose model takes images."""
    api = StandIn()
    api.behaviour.sees = True
    return api


HANDS_OVER = """([how, files]) => {
  const data = new DataTransfer();
  for (const [name, type, content] of files) {
    const bytes = typeof content === "string" ? content : new Uint8Array(content);
    data.items.add(new File([bytes], name, { type }));
  }
  const made = how === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
  document.querySelector(how === "drop" ? "#scroll" : ".composer textarea").dispatchEvent(made);
}"""
PHOTO = """async () => {
  const canvas = new OffscreenCanvas(2400, 1600), pen = canvas.getContext("2d");
  const pixels = pen.createImageData(2400, 1600), noise = new Uint32Array(pixels.data.buffer);
  for (let at = 0; at < noise.length; at++) noise[at] = 0xff000000 | (Math.random() * 0xffffff);
  pen.putImageData(pixels, 0, 0);
  const blob = await canvas.convertToBlob(), data = new DataTransfer();
  data.items.add(new File([blob], "photo.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  return blob.size;
}"""


def hand_over(page: Page, how: str, *files: tuple[str, str, bytes | str]) -> None:
    page.evaluate(HANDS_OVER, [how, [(n, kind, c if isinstance(c, str) else list(c)) for n, kind, c in files]])


def test_files_and_images_by_button_drop_and_paste(
    browser: Browser, address: str, api: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "rivers.pdf").write_bytes(pdf("The Rhine has 1233 km"))
    (tmp_path / "notes.txt").write_text("three more words")
    with visit(browser, address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        with page.expect_file_chooser() as chooser:
            page.get_by_label("Attach files").click()
        chooser.value.set_files([tmp_path / "rivers.pdf", tmp_path / "notes.txt"])
        for size in ("5 tokens", "3 tokens"):
            expect(page.locator(".file-size").get_by_text(size)).to_be_visible()
        hand_over(page, "drop", ("a.csv", "text/csv", "a,b"), ("dot.png", "image/png", PNG))
        hand_over(page, "paste", ("image.png", "image/png", PNG))
        expect(page.locator(".file")).to_have_count(5)
        page.get_by_label("Remove notes.txt").click()
        page.get_by_label("Remove image.png").click()
        expect(page.locator(".file-name")).to_have_count(3)
        keep(page, "attachments")
        page.locator(".composer textarea").fill("What are these?")
        page.keyboard.press("Enter")
        expect(page.locator(".answer:not(.live)")).to_contain_text("stand-in")
        content = api.seen.requests[0]["input"][0]["content"]
        assert [part["type"] for part in content] == ["input_text", "input_image"]
        assert "1233 km" in content[0]["text"] and "`a.csv`" in content[0]["text"]
        for _ in range(2):  # the second time after a reload
            expect(page.locator(".question-file summary")).to_have_count(2)
            page.wait_for_function("document.querySelector('.question-image').naturalWidth === 1")
            page.reload()


def test_a_photo_is_made_as_small_as_a_model_looks_at_it(browser: Browser, address: str, api: StandIn) -> None:
    with visit(browser, address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        assert page.evaluate(PHOTO) > 5 * MAX_IMAGE_BYTES
        expect(page.locator(".file-image")).to_have_count(1)
        page.wait_for_function("document.querySelector('.file-image').naturalWidth > 500")
        address_of = page.locator(".file-image").get_attribute("src") or ""
        assert address_of.startswith("data:image/jpeg") and len(address_of) * 3 / 4 < MAX_IMAGE_BYTES


def paste(page: Page, text: str) -> None:
    """Paste into what has the focus, from the clipboard."""
    page.evaluate(
        """(text) => {
          window.before = document.activeElement;
          document.body.append(Object.assign(document.createElement("textarea"), { id: "source", value: text }));
          document.getElementById("source").select();
        }""",
        text,
    )
    page.keyboard.press("Control+X")
    page.evaluate("() => { document.getElementById('source').remove(); window.before.focus(); }")
    page.keyboard.press("Control+V")


def test_a_paste_that_does_not_fit_becomes_a_file(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    text = "".join(f"{number:08} \n" for number in range(4_000))
    warm_api.behaviour.max_model_len = 8_192
    with visit(browser, warm_address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        page.wait_for_function("window.did_handshake")
        composer = page.locator(".composer textarea")
        composer.click()
        page.keyboard.type("Sum these: ")
        paste(page, text)
        expect(page.locator(".file-name")).to_have_text("Pasted text.txt")
        expect(page.locator(".file-size")).to_have_text("4,000 tokens")
        expect(composer).to_have_value("Sum these: ")
        paste(page, "and say why")
        page.keyboard.press("Enter")
        expect(page.locator(".answer:not(.live)")).to_contain_text("stand-in")
        sent = warm_api.seen.requests[0]["input"][0]["content"]
        assert sent.startswith("Sum these: and say why") and text.strip() in sent


def test_what_is_too_long_is_kept_and_said_never_cut(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    conversation_id = warm_api.add_conversation("Rivers")
    warm_api.add_message(conversation_id, "user", "Which river is longest?")
    warm_api.add_message(conversation_id, "assistant", "The Nile.")
    with visit(browser, warm_address, f"/c/{conversation_id}", **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        page.wait_for_function("window.did_handshake")
        composer, hint = page.locator(".composer textarea"), page.locator(".hint")
        composer.fill("x" * 31_990)
        page.keyboard.type("x" * 11)
        expect(hint).to_contain_text("Too long: 32,001 of at most 32,000 characters.")
        composer.press("Enter")
        expect(composer).to_have_value("x" * 32_001)
        composer.fill("")
        expect(hint).to_contain_text("Enter to send")

        page.get_by_label("Edit question").click()
        editor = page.locator(".editor textarea")
        editor.click()
        page.keyboard.press("Control+A")
        paste(page, "y" * 40_000)
        expect(page.locator(".editor .field-fault")).to_have_text("Too long: 40,000 of at most 32,000 characters.")
        page.get_by_text("Send again").click()
        expect(editor).to_have_value("y" * 40_000)
        page.keyboard.press("Escape")

        page.locator(".search input").click()
        paste(page, "z" * 201)
        expect(page.locator(".results")).to_have_text("Too long: 201 of at most 200 characters.")
        page.locator(".search input").fill("")

        page.locator(".entry").first.hover()
        page.locator(".entry .icon-dots").first.click()
        page.locator(".q-menu").get_by_text("Rename", exact=True).click()
        page.get_by_role("dialog").get_by_label("Title").fill("t" * 121)
        page.get_by_role("dialog").get_by_text("Save").click()
        expect(page.get_by_role("dialog")).to_contain_text("Too long: 121 of at most 120 characters.")
        assert not warm_api.seen.requests and warm_api.conversations[conversation_id]["title"] == "Rivers"
