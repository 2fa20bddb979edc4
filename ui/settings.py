"""The settings that the page reads from its environment."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STATE = Path(__file__).parents[1] / ".chatllm"
LINKS = "page"  # in the state folder
LOCAL = ("127.0.0.1", "localhost", "::1")

ANY = ("0.0.0.0", "")  # noqa: S104 - compared, not bound


class SettingsError(Exception):
    """A setting is missing or invalid; the message is one sentence for the operator."""


class KeyMissing(Exception):
    """There is no API key yet: its file is absent, empty or cannot be read."""


@dataclass(slots=True)
class ApiKey:
    """The service's key, given as a value or as the path of a file that may appear later."""

    value: str = field(default="", repr=False)
    file: Path | None = None
    on_refused: Callable[[str], None] | None = field(default=None, repr=False, compare=False)

    async def read(self) -> str:
        """Return the key; the file is read once it is needed, and then kept. Raises `KeyMissing`."""
        if not self.value and self.file is not None:
            try:
                self.value = (await asyncio.to_thread(self.file.read_text, "utf-8")).strip()
            except (OSError, UnicodeDecodeError) as error:
                raise KeyMissing(f"The API key's file cannot be read: {type(error).__name__}") from error
        if not self.value:
            raise KeyMissing("No API key is set")
        return self.value

    def forget(self, used: str) -> None:
        """The service refused the key `used`: tell who gave it, and read its file, which may have been replaced."""
        if self.file is not None:
            self.value = ""
        if self.on_refused is not None:
            self.on_refused(used)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the service is, how to be let in, and where the page is served."""

    api_url: str
    api_key: ApiKey
    host: str = "127.0.0.1"
    port: int = 8080
    names: tuple[str, ...] = ()
    must_sign_in: bool = False
    links: Path | None = None
    """The folder of the one-time links by which browsers are let in; without one nobody is asked for a link."""
    dashboard_url: str = ""
    titles: bool = True

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the page."""
        return self.host in LOCAL

    @property
    def url(self) -> str:
        """Where the page is, for a browser on this machine."""
        host = "localhost" if ":" in self.host else self.host if self.host not in ANY else "127.0.0.1"
        return f"http://{host}:{self.port}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read CHATLLM_API_URL, CHATLLM_API_KEY_FILE or CHATLLM_API_KEY, CHATLLM_PAGE_HOST, CHATLLM_PAGE_PORT.

        CHATLLM_PAGE_NAMES lists, with commas, further host names under which a local page may be
        asked for, as behind a proxy. CHATLLM_PAGE_SIGN_IN says whether every visitor signs in with
        a key of their own: unless it is set, only where the page listens to other machines. Where it
        listens to this machine alone, and is not set, a browser needs a one-time link, kept in CHATLLM_STATE.
        CHATLLM_DASHBOARD_URL is where Ray's dashboard is, if it is to be linked. CHATLLM_PAGE_TITLES says
        whether the model is asked for titles of conversations, as it is unless that is 0.
        """
        api_url = environ.get("CHATLLM_API_URL", "http://127.0.0.1:8000").rstrip("/").removesuffix("/v1")
        if not api_url.startswith(("http://", "https://")):
            raise SettingsError(f"CHATLLM_API_URL must begin with http:// or https://, not {api_url!r}.")
        host = environ.get("CHATLLM_PAGE_HOST", "127.0.0.1")
        must_sign_in = _switch(environ, "CHATLLM_PAGE_SIGN_IN", default=host not in LOCAL)
        key, key_file = environ.get("CHATLLM_API_KEY", "").strip(), environ.get("CHATLLM_API_KEY_FILE", "")
        if must_sign_in:
            key = key_file = ""
        elif not key and not key_file:
            raise SettingsError("Set CHATLLM_API_KEY_FILE to the path of a file that holds the service's API key.")
        try:
            port = int(environ.get("CHATLLM_PAGE_PORT", "8080"))
        except ValueError:
            port = 0
        if not 0 < port < 65536:
            raise SettingsError("CHATLLM_PAGE_PORT must be a number from 1 to 65535.")
        return cls(
            api_url=api_url,
            api_key=ApiKey(key, Path(key_file) if key_file else None),
            host=host,
            port=port,
            names=tuple(name.strip() for name in environ.get("CHATLLM_PAGE_NAMES", "").split(",") if name.strip()),
            must_sign_in=must_sign_in,
            links=_links(environ) if host in LOCAL else None,
            dashboard_url=_web_address(environ.get("CHATLLM_DASHBOARD_URL", "")),
            titles=_switch(environ, "CHATLLM_PAGE_TITLES", default=True),
        )


def _links(environ: Mapping[str, str]) -> Path | None:
    if environ.get("CHATLLM_PAGE_SIGN_IN", "").strip():
        return None
    return Path(environ.get("CHATLLM_STATE") or STATE).expanduser().absolute() / LINKS


def _switch(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "").strip()
    if text not in ("", "0", "1"):
        raise SettingsError(f"{name} must be 0 or 1.")
    return text == "1" if text else default


def _web_address(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise SettingsError(f"CHATLLM_DASHBOARD_URL must begin with http:// or https://, not {text!r}.")
    return text
