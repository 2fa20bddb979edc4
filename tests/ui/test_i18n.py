"""The page speaks the reader's language, and no text lacks its translation."""

import ast
import json
import string
from pathlib import Path

import pytest

import ui
from tests.ui.conftest import Reader, until
from tests.ui.stand_in import StandIn
from ui.api import errors
from ui.auth.sign_in import WHY
from ui.chat import status_line
from ui.chat.attachments import PDF_WORDS
from ui.chat.welcome import DEMO_PROMPTS, PROMPTS
from ui.i18n import CATALOGUES, languages, preferred
from ui.ops.cluster_tables import PHASES
from ui.sidebar.sidebar import GROUPS


def said() -> set[str]:
    """Return all English texts: those given to `t` as they are, and those that it is given by name."""
    named = {text for advice in (*errors.ADVICE.values(),) for text in (advice.title, advice.advice)}
    named |= (
        {text for pair in status_line.WORDS.values() for text in pair}
        | set(WHY.values())
        | {about for _, about in (*DEMO_PROMPTS, *PROMPTS)}
        | set(GROUPS)
    )
    named |= set(PDF_WORDS.values()) | set(PHASES.values())
    for path in Path(ui.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "t" and node.args:
                named |= {str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return named


@pytest.mark.parametrize("path", list(CATALOGUES.glob("*.json")), ids=lambda path: path.stem)
def test_a_catalogue_has_every_text_and_no_other(path: Path) -> None:
    catalogue: dict[str, str] = json.loads(path.read_text("utf-8"))
    assert set(catalogue) == said()
    for english, translated in catalogue.items():
        assert fields(english) == fields(translated), english
        assert translated.strip()


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,de;q=0.5", "en"),
        ("fr,de;q=0.5", "de"),
        ("fr", "en"),
        ("", "en"),
        ("de;q=0", "en"),
        ("de;q=x", "en"),
        ("en;q=0.2, DE;q=0.3", "de"),
    ],
)
def test_the_browser_s_first_choice_is_spoken(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


async def test_a_german_reader_is_spoken_to_in_german_to_the_end(reader: Reader, api: StandIn) -> None:
    assert languages() >= {"en", "de"}
    reader.http_client.headers["accept-language"] = "de"
    await reader.open("/")
    await reader.sees("Hallo! Wie kann ich helfen?")
    api.behaviour.fail_status, api.behaviour.fail_code, api.behaviour.retry_after = 429, "rate_limit_exceeded", "7"
    await until(lambda: not reader.texts("status-title"))
    reader.writes("Hallo")
    await reader.sees("Anfragelimit erreicht")
    await reader.sees("Wird in 7 Sekunden gesendet.")
    await until(lambda: reader.texts("group") == ["Heute"])


async def test_the_keys_are_listed(reader: Reader) -> None:
    await reader.open("/")
    reader.clicks("keys")
    await reader.sees_marked("shortcuts")
    await reader.sees("New line")
