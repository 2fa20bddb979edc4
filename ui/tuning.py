"""The card in which a reader sets how a conversation is answered."""

from dataclasses import replace

from nicegui import ui

from ui.parameters import MAX_ANSWER_TOKENS, MAX_SYSTEM_CHARS, Parameters, number
from ui.parts import attribute, button, dialog, tag, words
from ui.texts import t


async def tune(parameters: Parameters) -> Parameters | None:
    """Return what the reader has set; None if nothing was to change."""
    with dialog(t("How this chat is answered")) as asked, tag("form", "card wide"):
        words("h2", t("How this chat is answered"), "card-title")
        words("p", t("Holds from the next message on, for this chat only."), "card-text")
        with tag("label", "field"):
            words("span", t("System prompt"), "field-name")
            system = ui.textarea(value=parameters.system, placeholder=t("You are a patient teacher …"))
            attribute(system.props("borderless autogrow").mark("system"), maxlength=str(MAX_SYSTEM_CHARS), rows="3")
        with tag("div", "fields"):
            temperature = _field(t("Temperature"), t("0 to 2"), parameters.temperature, "temperature")
            top_p = _field(t("Top-p"), t("0 to 1"), parameters.top_p, "top-p")
            tokens = _field(t("Longest answer"), t("tokens"), parameters.max_tokens, "max-tokens")
        with tag("div", "card-actions"):
            button(t("Cancel"), lambda: asked.submit(None), "quiet")
            button(t("Save"), lambda: asked.submit(True)).mark("save-tuning")
    try:
        if not await asked:
            return None
        longest = number(tokens.value, 1, MAX_ANSWER_TOKENS)
        return replace(
            parameters,
            system=(system.value or "").strip()[:MAX_SYSTEM_CHARS],
            temperature=number(temperature.value, 0, 2),
            top_p=number(top_p.value, 0, 1),
            max_tokens=None if longest is None else int(longest),
        )
    finally:
        if not asked.is_deleted:
            asked.delete()


def _field(name: str, hint: str, value: float | None, marker: str) -> ui.input:
    with tag("label", "field"):
        words("span", name, "field-name")
        made = ui.input(value="" if value is None else f"{value:g}", placeholder=hint).props("borderless").mark(marker)
    attribute(made, inputmode="decimal")
    return made
