"""Numbers and times in the format of the page's language."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from ui import i18n
from ui.i18n import language

_GERMAN = str.maketrans(",.", ".,")


def number(value: float) -> str:
    """Return a number with three significant digits, or all digits before the decimal point."""
    if value and abs(value) < 10:
        text = f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 else "< 0.01"
    elif abs(value) < 100:
        text = f"{value:.1f}".removesuffix(".0")
    else:
        text = f"{value:,.0f}"
    return _localised(text)


def whole(value: int | None) -> str:
    """Return a count; a dash where it is not known."""
    return "–" if value is None else _localised(f"{value:,}")


def seconds(value: float | None) -> str:
    """Return a duration, in milliseconds below one second; a dash where there is none."""
    if value is None:
        return "–"
    return f"{number(round(value * 1e3))} ms" if value < 0.9995 else f"{number(value)} s"


def percent(share: float | None) -> str:
    """Return a share of one; a dash where there is none."""
    return "–" if share is None else i18n.percent(round(share * 100))


def zone_named(name: object) -> tzinfo:
    """Return the time zone that a browser names; UTC for what is none."""
    try:
        return ZoneInfo(str(name)[:64])
    except (ValueError, OSError, KeyError):  # ZoneInfo reads files, and calls a missing one a KeyError
        return UTC


def clock(at: float, zone: tzinfo) -> str:
    """Return the time of day."""
    return f"{datetime.fromtimestamp(at, zone):%H:%M:%S}"


def moment(at: float, zone: tzinfo) -> str:
    """Return the day and the time of day."""
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M}"


def _localised(text: str) -> str:
    return text.translate(_GERMAN) if language() == "de" else text
