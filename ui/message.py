"""One message of the transcript: the reader's bubble, or the model's answer with all that can be said about it."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from ui.blocks import GrowingMarkdown
from ui.generation import Answer
from ui.markdown import render
from ui.parts import attribute, button, icon_button, tag, words
from ui.trouble import Trouble, explain


def show_question(text: str) -> None:
    """Show what the reader wrote, exactly as it was written."""
    with tag("div", "turn question"):
        words("div", text, "bubble")


def show_stored_answer(text: str, is_incomplete: bool) -> None:
    """Show an answer of which only the text is known."""
    with tag("article", "turn answer", aria_label="Answer"):
        with tag("div", "prose"):
            _html(render(text))
        if is_incomplete:
            words("div", "This answer was stopped before its end.", "note")
        _tools(lambda: text, None)


class AnswerView:
    """An answer that may still be growing. `show` may be called as often as it pleases."""

    def __init__(self, on_retry: Callable[[], Any]) -> None:
        self._on_retry = on_retry
        self._growing = GrowingMarkdown()
        self._is_closed = False
        self._retry: ui.element | None = None
        self.root = tag("article", "turn answer live", aria_label="Answer", aria_busy="true")
        with self.root:
            self._thinking = tag("div", "thinking", role="status", aria_label="The answer is on its way")
            with self._thinking:
                for _ in range(3):
                    tag("span")
            self._text = tag("div", "prose")
            with self._text:
                self._tail = _html("")

    def show(self, answer: Answer) -> None:
        """Bring the view up to `answer`; at its end add what is left to say."""
        if self._is_closed:
            return
        if answer.text:
            self._thinking.set_visibility(False)
            settled, tail = self._growing.feed(answer.text)
            if settled:
                with self._text:
                    _html(settled)
                self._tail.move(target_index=-1)
            self._tail.set_content(tail)
        if not answer.is_running:
            self._close(answer)

    def fail(self, trouble: Trouble) -> None:
        """Show a failure that came before there was an answer at all."""
        self._end()
        with self.root:
            self._retry = show_trouble(trouble, self._on_retry)

    def give_up(self) -> None:
        """Offer no retry any more: the conversation has gone on."""
        if self._retry is not None:
            self._retry.delete()
            self._retry = None

    def _close(self, answer: Answer) -> None:
        self._end()
        with self.root:
            if answer.state == "stopped":
                words("div", "You stopped this answer.", "note")
            if answer.state == "done" and answer.end.reason == "length":
                words("div", "The answer reached its length limit and ends here.", "note")
            if answer.trouble is not None:
                self._retry = show_trouble(answer.trouble, self._on_retry)
            if answer.text:
                _tools(lambda: answer.text, answer)

    def _end(self) -> None:
        self._is_closed = True
        self._thinking.delete()
        self.root.classes(remove="live")
        attribute(self.root, aria_busy="false")


def show_trouble(trouble: Trouble, on_retry: Callable[[], Any]) -> ui.element | None:
    """Show what happened, what to do next, and the request's id to quote; returns the retry button."""
    advice, retry = explain(trouble), None
    with tag("div", "trouble", role="alert"):
        words("div", advice.title, "trouble-title")
        words("div", advice.advice, "trouble-advice")
        with tag("div", "trouble-actions"):
            if advice.can_retry:
                retry = button("Try again", on_retry, "small").mark("retry")
            if trouble.request_id:
                request_id = words("button", f"Request {trouble.request_id}", "request-id").mark("request-id")
                attribute(request_id, type="button", data_act="copy-text", data_text=trouble.request_id)
                attribute(request_id, title="Copy the request's id")
    return retry


def figures(answer: Answer) -> list[str]:
    """Return what can be said about how the answer came to be."""
    said: list[str] = []
    if answer.from_cache:
        said.append("From the cache")
    if answer.end.completion_tokens:
        said.append(f"{answer.end.completion_tokens:,} tokens")
    if answer.first_token_at is not None:
        said.append(f"first token after {answer.first_token_at - answer.asked_at:.2f} s")
        took_s = (answer.ended_at or answer.first_token_at) - answer.first_token_at
        if answer.end.completion_tokens > 1 and took_s > 0 and not answer.from_cache:
            said.append(f"{(answer.end.completion_tokens - 1) / took_s:,.0f} tokens/s")
    if answer.end.prompt_tokens:
        said.append(f"{answer.end.prompt_tokens:,} tokens read")
    return [*said, answer.question.model]


def _tools(text: Callable[[], str], answer: Answer | None) -> None:
    with tag("div", "tools"):
        icon_button("copy", "Copy the answer", lambda: ui.run_javascript(f"chatllm.copy({_literal(text())})"))
        if answer is None:
            return
        details = words("div", " · ".join(figures(answer)), "figures").mark("figures")
        details.set_visibility(False)
        info = icon_button("info", "About this answer", lambda: details.set_visibility(not details.visible))
        info.mark("about").move(target_index=1)


def _literal(text: str) -> str:
    """Return `text` as a JavaScript string literal."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\u{{{ord(c):x}}}" for c in text) + '"'


def _html(html: str) -> ui.html:
    return ui.html(html).classes("piece")
