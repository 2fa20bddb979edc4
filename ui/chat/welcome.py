"""What an empty conversation shows: a greeting, and four questions to begin with."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ui.i18n import t
from ui.widgets.elements import tag, text_element

Prompts = tuple[tuple[str, str], ...]

DEMO_MODEL = "guide"
# The questions stay English: the models that come with the service understand little else.
DEMO_PROMPTS: Prompts = (
    ("What can you do?", "A short tour of what this assistant knows"),
    ("What is ChatLLM?", "The service behind this page, in a few sentences"),
    ("How do I use my own model?", "From the demo model to your own"),
    ("How does the cache work?", "Why repeated questions are answered instantly"),
)
PROMPTS: Prompts = (
    ("What is the capital of Japan?", "A short question with a short answer"),
    ("Give me three tips for learning a language.", "A short list to get started"),
    ("Write a short poem about the sea.", "A few lines of verse"),
    ("Write a Python function that reverses a string.", "Code to copy and run"),
)


class Welcome:
    """The greeting; a click on a question sends it."""

    def __init__(self, on_pick: Callable[[str], Any]) -> None:
        self._on_pick = on_pick
        self._offered: Prompts = ()
        with tag("section", "welcome"):
            tag("span", "mark large", aria_hidden="true")
            text_element("h2", t("Hello! How can I help?"), "greeting")
            text_element("p", t("Ask a question, or start with one of these."), "greeting-more")
            self._prompts = tag("div", "prompts")
        self.offer(None)

    def offer(self, model: str | None) -> None:
        """Show questions for the chosen model; the demo model knows only this product."""
        prompts = DEMO_PROMPTS if model == DEMO_MODEL else PROMPTS
        if prompts is self._offered:
            return
        self._offered = prompts
        self._prompts.clear()
        with self._prompts:
            for number, (question, about) in enumerate(prompts):
                with tag("button", "prompt", type="button") as card:
                    text_element("span", question, "prompt-title")
                    text_element("span", t(about), "prompt-about")
                card.on("click", partial(self._on_pick, question), args=[]).mark(f"prompt-{number}")
