"""Input fields that are validated while typing, with the error shown beside them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import ui

from ui.i18n import t
from ui.widgets.elements import attribute, tag, text_element


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that a field takes; with `is_whole` only integers."""

    least: float
    most: float
    is_whole: bool = False

    def read(self, text: str) -> float | None:
        """Return the number that `text` is; None for no text. Raises `ValueError` for anything else."""
        if not (text := text.strip()):
            return None
        if self.is_whole and not re.fullmatch(r"\d+", text):  # "1,000" is a thousand to some and one to others
            raise ValueError(text)
        value = float(text if self.is_whole else text.replace(",", "."))
        if math.isnan(value) or not self.least <= value <= self.most:
            raise ValueError(text)
        return value

    @property
    def fault(self) -> str:
        """The message for a value out of bounds."""
        least, most = f"{self.least:,g}", f"{self.most:,.0f}"
        if self.is_whole:
            return t("Enter a whole number from {least} to {most}.", least=least, most=most)
        return t("Enter a number from {least} to {most}.", least=least, most=most)


class Field:
    """A labeled input with an error message; subclasses define the validation."""

    def __init__(self, label: str, made: ui.input | ui.textarea) -> None:
        """`made` was created last, inside the label that `labelled` opened."""
        self.input = made
        self._fault = text_element("span", "", "field-fault").mark("fault")
        attribute(self._fault, id=f"fault-{made.id}", role="alert")
        attribute(made, aria_label=label, dir="auto", aria_describedby=f"fault-{made.id}")
        made.on_value_change(self._show_fault)

    @property
    def text(self) -> str:
        """What has been typed."""
        return str(self.input.value or "")

    @property
    def fault(self) -> str:
        """The validation error; "" if the value is valid."""
        raise NotImplementedError

    def _show_fault(self) -> None:
        self._fault.text = fault = self.fault
        if fault:
            attribute(self.input, aria_invalid="true")
        else:
            self.input.props.pop("aria-invalid", None)


class NumberField(Field):
    """A number, or empty for the service's default."""

    def __init__(
        self, label: str, bounds: Bounds, value: float | None, marker: str, hint: str = "", classes: str = "field"
    ) -> None:
        self._bounds = bounds
        with tag("label", classes):
            text_element("span", label, "field-name")
            shown = "" if value is None else f"{value:g}"
            made = ui.input(value=shown, placeholder=hint).props("borderless").mark(marker)
            attribute(made, inputmode="numeric" if bounds.is_whole else "decimal", autocomplete="off")
            super().__init__(label, made)

    def set(self, value: float | None) -> None:
        """Show a value in place of what has been typed."""
        self.input.value = "" if value is None else f"{value:g}"

    @property
    def value(self) -> float | None:
        """The number; None if it is empty or invalid."""
        try:
            return self._bounds.read(self.text)
        except ValueError:
            return None

    @property
    def fault(self) -> str:
        """The validation error; "" if the value is valid."""
        try:
            self._bounds.read(self.text)
        except ValueError:
            return self._bounds.fault
        return ""


class TextField(Field):
    """Text of several lines, up to `most` characters."""

    def __init__(self, label: str, most: int, value: str, marker: str, hint: str = "") -> None:
        self._most = most
        with tag("label", "field"):
            text_element("span", label, "field-name")
            made = ui.textarea(value=value, placeholder=hint).props("borderless autogrow").mark(marker)
            super().__init__(label, attribute(made, rows="3"))

    @property
    def fault(self) -> str:
        """The validation error; "" if the value is valid."""
        return too_long(self.text.strip(), self._most)


class LineField(Field):
    """Text of one line, up to `most` characters, without a name that can be seen."""

    def __init__(self, label: str, most: int, value: str, marker: str) -> None:
        self._most = most
        with tag("label", "field"):
            super().__init__(label, ui.input(value=value).props("borderless autofocus").mark(marker))

    @property
    def line(self) -> str:
        """What has been typed, with single spaces."""
        return " ".join(self.text.split())

    @property
    def fault(self) -> str:
        """The validation error; "" if the value is valid."""
        return too_long(self.line, self._most)


def too_long(text: str, most: int) -> str:
    """Return the error for a text with more than `most` characters; "" if it is not longer."""
    if len(text) <= most:
        return ""
    return t("Too long: {length} of at most {most} characters.", most=f"{most:,}", length=f"{len(text):,}")


def are_right(fields: Sequence[Field]) -> bool:
    """Whether all values are valid; if not, focus the first invalid field."""
    faulty = next((field for field in fields if field.fault), None)
    if faulty is not None:
        faulty.input.run_method("focus")
    return faulty is None
