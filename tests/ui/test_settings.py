"""What the page reads from its environment, and how it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from ui.settings import ApiKey, KeyMissing, Settings, SettingsError


def test_the_environment_is_read() -> None:
    settings = Settings.from_environment(
        {
            "CHATLLM_API_URL": "http://127.0.0.1:9000/v1/",
            "CHATLLM_API_KEY": "sk-1",
            "CHATLLM_PAGE_HOST": "0.0.0.0",
            "CHATLLM_PAGE_PORT": "9001",
            "CHATLLM_PAGE_NAMES": "chat.example.org, other",
            "CHATLLM_DASHBOARD_URL": "http://127.0.0.1:8265",
        }
    )
    assert (settings.api_url, settings.host, settings.port) == ("http://127.0.0.1:9000", "0.0.0.0", 9001)
    assert settings.dashboard_url == "http://127.0.0.1:8265"
    assert settings.names == ("chat.example.org", "other") and not settings.is_local


@pytest.mark.parametrize(
    ("environ", "must"),
    [
        ({}, False),
        ({"CHATLLM_PAGE_HOST": "0.0.0.0"}, True),
        ({"CHATLLM_PAGE_HOST": "10.0.0.1", "CHATLLM_PAGE_SIGN_IN": "0"}, False),
        ({"CHATLLM_PAGE_SIGN_IN": "1"}, True),
    ],
)
async def test_visitors_sign_in_where_others_can_reach_the_page_unless_it_is_said(
    environ: dict[str, str], must: bool
) -> None:
    settings = Settings.from_environment({"CHATLLM_API_KEY": "sk-1", **environ})
    assert settings.must_sign_in is must
    if must:  # then the page has no key that could be used in a visitor's place
        with pytest.raises(KeyMissing):
            await settings.api_key.read()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "CHATLLM_API_KEY_FILE"),
        ({"CHATLLM_API_KEY": "k", "CHATLLM_PAGE_PORT": "many"}, "CHATLLM_PAGE_PORT"),
        ({"CHATLLM_API_KEY": "k", "CHATLLM_PAGE_PORT": "70000"}, "CHATLLM_PAGE_PORT"),
        ({"CHATLLM_API_KEY": "k", "CHATLLM_API_URL": "127.0.0.1:8000"}, "CHATLLM_API_URL"),
        ({"CHATLLM_API_KEY": "k", "CHATLLM_PAGE_SIGN_IN": "yes"}, "CHATLLM_PAGE_SIGN_IN"),
        ({"CHATLLM_API_KEY": "k", "CHATLLM_DASHBOARD_URL": "javascript:alert(1)"}, "CHATLLM_DASHBOARD_URL"),
    ],
)
def test_a_setting_without_meaning_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.from_environment(environ)


async def test_the_key_s_file_may_appear_later_and_be_replaced(tmp_path: Path) -> None:
    key = ApiKey(file=tmp_path / "key")
    with pytest.raises(KeyMissing):
        await key.read()
    (tmp_path / "key").write_text("sk-1\n")
    assert await key.read() == "sk-1"
    (tmp_path / "key").write_text("sk-2\n")
    assert await key.read() == "sk-1"
    key.forget("sk-1")
    assert await key.read() == "sk-2"


def test_a_key_never_shows() -> None:
    assert "sk-1" not in repr(Settings("http://x", ApiKey("sk-1")))


def test_the_process_ends_with_one_sentence_without_a_key() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ui"], env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "CHATLLM_API_KEY_FILE" in ended.stderr


def test_the_page_knows_nothing_of_the_service_s_inside_and_starts_without_the_sdk() -> None:
    code = (
        "import sys, ui.__main__ as main; main._skip_unused_imports(); import ui.app; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('deployments', 'openai', 'ray', 'torch', 'vllm', 'langchain') "
        "or name in ('redis.asyncio', 'aiohttp.client')])"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert listed.stdout.strip() == "[]"
