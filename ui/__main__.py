"""`python -m ui`: serves the chat page. The service may still be starting, or not be there yet.

`python -m ui link` prints an address that opens it in one browser.
"""

import logging
import sys


def main() -> int:
    """Serve until told to end; a setting that makes no sense ends with one sentence and exit status 2."""
    from ui.auth.links import opening_address
    from ui.settings import Settings, SettingsError

    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if sys.argv[1:] == ["link"]:
        sys.stdout.write(f"{opening_address(settings)}\n")
        return 0
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _skip_unused_imports()
    from ui.app import serve

    serve(settings)
    return 0


def _skip_unused_imports() -> None:
    """Keep python-socketio from loading clients that this server never uses.

    It imports each of these if it can and goes on without: half of the time and a
    third of the memory that `import nicegui` takes.
    """
    for name in ("redis", "valkey", "aiohttp", "requests"):
        sys.modules[name] = None  # type: ignore[assignment]


if __name__ == "__main__":
    sys.exit(main())
