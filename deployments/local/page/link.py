"""Links that let a browser into the chat page, made by whoever can write to the state folder."""

import contextlib
import os
import threading
import webbrowser
from html import escape
from pathlib import Path
from typing import TextIO

from deployments.local.instance import Instance
from deployments.local.state import LauncherError
from ui.auth.links import Links
from ui.settings import LINKS

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
FILE = "open.html"


def opening_address(instance: Instance, state: Path) -> str:
    """Return a new address that opens the page in one browser, or nothing if it was not started."""
    if not instance.page_takes_links:
        return instance.page_url
    try:
        return Links(state / LINKS).create(instance.page_url)
    except OSError as error:
        raise LauncherError(f"cannot write to the state folder {state} ({error.strerror})") from error


def open_browser(instance: Instance, state: Path, terminal: TextIO) -> bool:
    """Open the page in the user's browser if there is a person and a display; returns at once.

    The browser gets the path of a file that leads to the link, and not the link: everybody on this machine
    can read the arguments of a running program.
    """
    if not instance.page_url or not terminal.isatty() or not any(map(os.environ.get, DISPLAYS)):
        return False
    file = state / LINKS / FILE
    address = opening_address(instance, state)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as page:
        page.write(leading_file(address))
    threading.Thread(target=_open, args=(file.as_uri(),), name="browser", daemon=True).start()
    return True


def leading_file(address: str) -> str:
    """Return the HTML that leads a browser to an address at once."""
    return (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>ChatLLM</title>'
        f'<meta http-equiv="refresh" content="0; url={escape(address)}">'
    )


def _open(url: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(url)
