"""What an empty conversation shows: a greeting, and four questions to begin with."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ui.parts import tag, words
from ui.texts import t

# The questions stay English: the demo model, which they are for, reads nothing else.
PROMPTS = (
    ("What can you do?", "A short tour of what this assistant knows"),
    ("What is ChatLLM?", "The service behind this page, in a few sentences"),
    ("How do I use my own model?", "From the demo model to a real one"),
    ("How does the cache work?", "Why the same question is answered at once"),
)


def show_welcome(on_pick: Callable[[str], Any]) -> None:
    """Show the greeting; a click on a question sends it."""
    with tag("section", "welcome"):
        tag("span", "mark large", aria_hidden="true")
        words("h2", t("Hello! What is on your mind?"), "greeting")
        words("p", t("Ask a question, or begin with one of these."), "greeting-more")
        with tag("div", "prompts"):
            for number, (question, about) in enumerate(PROMPTS):
                with tag("button", "prompt", type="button") as card:
                    words("span", question, "prompt-title")
                    words("span", t(about), "prompt-about")
                card.on("click", partial(on_pick, question), args=[]).mark(f"prompt-{number}")
