"""The dialog for a conversation's system prompt and parameters."""

from dataclasses import replace

from ui.i18n import t
from ui.state.parameters import MAX_ANSWER_TOKENS, MAX_SYSTEM_CHARS, TEMPERATURE, TOP_P, Parameters
from ui.widgets.elements import button, dialog, form, submit_button, tag, text_element
from ui.widgets.fields import Bounds, NumberField, TextField, are_right


async def tune(parameters: Parameters) -> Parameters | None:
    """Return the new parameters; None if nothing changed. Invalid values cannot be saved."""
    with dialog(t("Chat settings")) as opened, tag("div", "card wide"):
        text_element("h2", t("Chat settings"), "card-title")
        text_element("p", t("Applies to this chat only, from the next message on."), "card-text")
        with form(lambda: opened.submit(True) if are_right(fields) else None).mark("tuning"):
            hint = t("You are a patient teacher…")
            system = TextField(t("System prompt"), MAX_SYSTEM_CHARS, parameters.system, "system", hint)
            with tag("div", "fields"):
                temperature = NumberField(
                    t("Temperature"), Bounds(*TEMPERATURE), parameters.temperature, "temperature", t("0 to 2")
                )
                top_p = NumberField(t("Top-p"), Bounds(*TOP_P), parameters.top_p, "top-p", t("0 to 1"))
                longest = Bounds(1, MAX_ANSWER_TOKENS, is_whole=True)
                tokens = NumberField(t("Maximum length"), longest, parameters.max_tokens, "max-tokens", t("tokens"))
            fields = [system, temperature, top_p, tokens]
            with tag("div", "card-actions"):
                button(t("Cancel"), lambda: opened.submit(None), "quiet")
                submit_button(t("Save")).mark("save-tuning")
    try:
        if not await opened:
            return None
        return replace(
            parameters,
            system=system.text.strip(),
            temperature=temperature.value,
            top_p=top_p.value,
            max_tokens=None if tokens.value is None else int(tokens.value),
        )
    finally:
        if not opened.is_deleted:
            opened.delete()
