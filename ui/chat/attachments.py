"""Attachments of the next message: files, each with its size in tokens, and images."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from nicegui import background_tasks, events, ui

from ui.api.errors import ApiError, explain
from ui.files.charsets import decoded
from ui.files.images import MAX_IMAGE_BYTES, MAX_IMAGES, data_url, kind_of
from ui.files.message import Composed
from ui.files.pdf import MAX_PDF_BYTES, Fault, PdfFault, is_pdf
from ui.files.text_files import MAX_FILE_BYTES, MAX_FILES, TextFile
from ui.i18n import t
from ui.state.submission import Shared
from ui.widgets.elements import attribute, icon_button, tag, text_element

SMALL_BYTES = 2_000  # within every model's limit: a token has at least one byte
PDF_WORDS: dict[Fault, str] = {
    "encrypted": "{name} is password-protected.",
    "scanned": "{name} contains no text. Its pages may be scanned images.",
    "broken": "{name} is not a readable PDF file.",
    "too much": "{name} took too long to read.",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as a data URL."""

    name: str
    address: str


class _Refused(Exception):
    """Why a file was not attached, in the reader's language."""


class Attachments:
    """Chips above the composer. Files are picked, pasted, or dropped anywhere on the page."""

    def __init__(self, shared: Shared, model: Callable[[], str | None]) -> None:
        self._shared, self._model = shared, model
        self._files: list[TextFile | Picture] = []
        self._coming: list[str] = []  # names of what is being read
        self._refused = ""
        self._counted_for = model()
        self._max_tokens = 0  # the model's limit; 0 until the service has reported it
        self.on_read: Callable[[bool], Awaitable[None]] | None = None
        """Called when a file has been read, with whether it goes along."""
        self._root = attribute(tag("div", "attachments"), aria_label=t("Files"), role="group", aria_live="polite")
        self._upload = ui.upload(on_upload=self._take, multiple=True, auto_upload=True, max_file_size=MAX_PDF_BYTES)
        self._upload.on_rejected(self._refuse_size)
        self._upload.props("no-thumbnails").classes("hidden").mark("files")
        attribute(self._root, data_uploader=str(self._upload.id))

    @property
    def are_there(self) -> bool:
        """Whether anything is attached."""
        return bool(self._files)

    @property
    def are_coming(self) -> bool:
        """Whether anything is still being read."""
        return bool(self._coming)

    @property
    def fault(self) -> str:
        """The message for files that are too large for the model; "" if they fit or the limit is unknown."""
        return self._too_large(sum(file.tokens or 0 for file in self._texts))

    async def fault_with(self, text: str) -> str:
        """Return the message for a text that is too large for the model together with its files; "" if it fits."""
        readable = Composed(text, self._texts).readable
        if len(readable.encode(errors="replace")) <= SMALL_BYTES:
            return ""
        try:
            counted = await self._shared.api.count_tokens(readable, self._model() or "")
        except ApiError:
            return ""  # the service reports it when the message is sent
        self._max_tokens = counted.max_model_len
        return self._too_large(counted.count)

    def recount(self) -> None:
        """Count the tokens again if the model has changed or counting failed before."""
        model, before = self._model(), self._counted_for
        if self._shared.readiness.of(model).phase != "ready":
            return
        self._counted_for = model
        for file in self._texts:
            if model != before or file.tokens is None:
                background_tasks.create(self._count(file), name="count tokens")

    def within(self, text: str) -> str:
        """Return the message with its files."""
        images = [file.address for file in self._files if isinstance(file, Picture)]
        return Composed(text, self._texts, images).message

    def pick(self) -> None:
        """Open the file chooser."""
        self._upload.run_method("pickFiles")

    def clear(self) -> None:
        """Remove all attachments."""
        if self._files or self._refused:
            self._files, self._refused = [], ""
            self._draw()

    @property
    def _texts(self) -> list[TextFile]:
        return [file for file in self._files if isinstance(file, TextFile)]

    def _too_large(self, tokens: int) -> str:
        if not self._max_tokens or tokens < self._max_tokens:  # the answer needs at least one token as well
            return ""
        return t(
            "Too large for {model}: the limit is {most} tokens, and this message has {count}.",
            model=self._model() or t("The model"),
            most=f"{self._max_tokens:,}",
            count=f"{tokens:,}",
        )

    async def _take(self, event: events.UploadEventArguments) -> None:
        name = event.file.name.replace("`", "'").replace("\n", " ")[-100:]
        if len(self._files) + len(self._coming) >= MAX_FILES:
            return self._refuse(t("A message can have up to {count} files.", count=MAX_FILES))
        if event.file.size() > MAX_PDF_BYTES:  # browsers reject it already
            return self._refuse_size()
        self._coming.append(name)
        self._draw()
        try:
            file = await self._read(name, await event.file.read())
            self._files.append(file)
        except _Refused as refused:
            self._refused, file = str(refused), None
        finally:
            self._coming.remove(name)
            self._upload.reset()
            self._draw()
        if isinstance(file, TextFile):
            await self._count(file)
        if self.on_read is not None:
            await self.on_read(file is not None)
        return None

    async def _read(self, name: str, content: bytes) -> TextFile | Picture:
        if kind := kind_of(content):
            return await self._picture(name, content, kind)
        if is_pdf(content):
            try:
                return TextFile(name, await self._shared.pdfs.text_of(content))
            except PdfFault as fault:
                raise _Refused(t(PDF_WORDS[fault.fault], name=name)) from None
        if len(content) > MAX_FILE_BYTES:
            raise _Refused(t("{name} is too large. Text files can be up to 256 KB.", name=name))
        if (text := await asyncio.to_thread(decoded, content)) is None:
            raise _Refused(
                t("{name} has an unsupported format. Supported are text, code, CSV, PDF, and images.", name=name)
            )
        return TextFile(name, text)

    async def _picture(self, name: str, content: bytes, kind: str) -> Picture:
        try:
            models = await self._shared.api.models()
        except ApiError as error:
            raise _Refused(explain(error).title) from None
        if not any(model.sees for model in models if model.id == self._model()):
            raise _Refused(t("{model} cannot see images.", model=self._model() or t("The model")))
        if len(content) > MAX_IMAGE_BYTES:
            raise _Refused(t("{name} is too large. Images can be up to 700 KB.", name=name))
        if sum(isinstance(file, Picture) for file in self._files) >= MAX_IMAGES:
            raise _Refused(t("A message can have up to {count} images.", count=MAX_IMAGES))
        return Picture(name, data_url(content, kind))

    async def _count(self, file: TextFile) -> None:
        model = self._model()
        try:
            counted = await self._shared.api.count_tokens(file.text, model or "")
        except ApiError:
            return  # its size is a courtesy
        if model != self._model():
            return  # it is counted again
        self._max_tokens = counted.max_model_len
        self._files = [replace(file, tokens=counted.count) if other is file else other for other in self._files]
        self._draw()

    def _draw(self) -> None:
        self._root.clear()
        with self._root:
            for at, file in enumerate(self._files):
                self._show(at, file)
            for name in self._coming:
                with tag("div", "file coming"):
                    attribute(text_element("span", name, "file-name"), dir="auto")
                    text_element("span", t("reading…"), "file-size")
            for wrong in filter(None, (self._refused, self.fault)):
                attribute(text_element("div", wrong, "file-refused"), role="alert")

    def _show(self, at: int, file: TextFile | Picture) -> None:
        with tag("div", "file"):
            if isinstance(file, Picture):
                tag("img", "file-image", src=file.address, alt="")
            attribute(text_element("span", file.name, "file-name"), dir="auto")
            if isinstance(file, TextFile) and file.tokens is not None:
                text_element("span", t("{count} tokens", count=f"{file.tokens:,}"), "file-size")
            drop = icon_button("close", t("Remove {name}", name=file.name), partial(self._drop, file))
            drop.mark(f"drop-file-{at}")

    def _drop(self, file: TextFile | Picture) -> None:
        self._files = [other for other in self._files if other is not file]
        self._refused = ""
        self._draw()

    def _refuse_size(self) -> None:
        self._refuse(t("Files can be up to 10 MB."))

    def _refuse(self, why: str) -> None:
        self._refused = why
        self._draw()
