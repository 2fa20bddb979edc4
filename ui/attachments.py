"""The files that go along with the next message, each with its size in tokens."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from nicegui import events, ui

from ui.client import Api
from ui.files import MAX_FILE_BYTES, MAX_FILES, TextFile, decoded, with_files
from ui.parts import attribute, icon_button, tag, words
from ui.texts import t
from ui.trouble import Trouble


class Attachments:
    """Chips above the composer. Files come by its button, or are dropped anywhere on the page."""

    def __init__(self, api: Api, model: Callable[[], str | None]) -> None:
        self._api, self._model = api, model
        self._files: list[TextFile] = []
        self._refused = ""
        self._root = attribute(tag("div", "attachments"), aria_label=t("Files"), role="group", aria_live="polite")
        self._upload = ui.upload(on_upload=self._take, multiple=True, auto_upload=True, max_file_size=MAX_FILE_BYTES)
        self._upload.on_rejected(lambda: self._refuse(t("A file may have 256 KB at most.")))
        self._upload.classes("hidden").mark("files")
        attribute(self._root, data_uploader=str(self._upload.id))

    @property
    def are_there(self) -> bool:
        """Whether anything goes along."""
        return bool(self._files)

    def within(self, text: str) -> str:
        """Return the message with its files."""
        return with_files(text, self._files)

    def pick(self) -> None:
        """Let the reader choose files."""
        self._upload.run_method("pickFiles")

    def clear(self) -> None:
        """Nothing goes along any more."""
        if self._files or self._refused:
            self._files, self._refused = [], ""
            self._draw()

    async def _take(self, event: events.UploadEventArguments) -> None:
        name = event.file.name.replace("`", "'").replace("\n", " ")[-100:]
        text = decoded(await event.file.read())
        self._upload.reset()
        if text is None:
            self._refuse(t("{name} is no text: text, code and CSV can be read.", name=name))
        elif len(self._files) >= MAX_FILES:
            self._refuse(t("{count} files fit into a message at most.", count=MAX_FILES))
        else:
            file = TextFile(name, text)
            self._files.append(file)
            self._draw()
            await self._count(file)

    async def _count(self, file: TextFile) -> None:
        try:
            tokens = await self._api.count_tokens(file.text, self._model() or "")
        except Trouble:
            return  # its size is a courtesy
        self._files = [replace(other, tokens=tokens) if other is file else other for other in self._files]
        self._draw()

    def _draw(self) -> None:
        self._root.clear()
        with self._root:
            for at, file in enumerate(self._files):
                with tag("div", "file"):
                    words("span", file.name, "file-name")
                    if file.tokens is not None:
                        words("span", t("{count} tokens", count=f"{file.tokens:,}"), "file-size")
                    drop = icon_button("close", t("Leave {name} out", name=file.name), partial(self._drop, file))
                    drop.mark(f"drop-file-{at}")
            if self._refused:
                attribute(words("div", self._refused, "file-refused"), role="alert")

    def _drop(self, file: TextFile) -> None:
        self._files = [other for other in self._files if other is not file]
        self._refused = ""
        self._draw()

    def _refuse(self, why: str) -> None:
        self._refused = why
        self._draw()
