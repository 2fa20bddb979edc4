"""`chatllm cache` on a real Valkey."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from deployments.cache.key import cache_key
from deployments.cache.purging import PurgeableAnswers
from deployments.cache.store import RedisStore
from deployments.config import ScriptedModel
from deployments.local.cli import app
from deployments.local.state import LauncherError
from deployments.models.identity import identity

MODELS = {name: ScriptedModel(id=name, kind="scripted") for name in ("guide", "other")}
KEYS = {
    (tenant, name): cache_key(tenant, identity(model), {"messages": []})
    for tenant in ("key_a", "key_b")
    for name, model in MODELS.items()
}


@pytest.fixture
def run(valkey_url, monkeypatch, tmp_path):
    """Run the command line beside a cache that holds one answer for each tenant and model."""
    monkeypatch.setenv("REDIS_URL", valkey_url)
    config = tmp_path / "serve_config.yaml"
    config.write_text(
        "applications: [{name: chatllm, import_path: x, args: {cache: {namespace: cli}, aliases: {gpt: other}, models: "
        "[{id: guide, kind: scripted}, {id: other, kind: scripted}]}}]"
    )
    asyncio.run(on_store(valkey_url, lambda answers: answers.store([(key, b"1", 60.0) for key in KEYS.values()])))

    def run(*arguments):
        return CliRunner().invoke(app, ["cache", *arguments, "--config", str(config)], catch_exceptions=False)

    return run


async def on_store(url, work):
    store = RedisStore(url, "cli", 5, 5)
    try:
        return await work(PurgeableAnswers(store))
    finally:
        await store.aclose()


def left(url):
    values, _ = asyncio.run(on_store(url, lambda answers: answers.lookup(list(KEYS.values()))))
    return {name for name, value in zip(KEYS, values, strict=True) if value}


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        (("--key", KEYS["key_a", "guide"]), {("key_a", "guide")}),
        (("--tenant", "key_a"), {("key_a", "guide"), ("key_a", "other")}),
        (("--model", "gpt"), {("key_a", "other"), ("key_b", "other")}),
        (("--model", "other", "--tenant", "key_b"), {("key_b", "other")}),
        (("--all",), set(KEYS)),
    ],
)
def test_answers_are_taken_back(run, valkey_url, arguments, gone):
    assert left(valkey_url) == set(KEYS)
    result = run("purge", *arguments)
    assert (result.exit_code, result.output.startswith("Purged")) == (0, True)
    assert left(valkey_url) == set(KEYS) - gone


@pytest.mark.parametrize("arguments", [(), ("--all", "--model", "guide"), ("--key", "x", "--all")])
def test_a_purge_of_nothing_or_of_too_much_is_refused(run, valkey_url, arguments):
    assert run("purge", *arguments).exit_code == 2
    assert left(valkey_url) == set(KEYS)


def test_a_model_that_does_not_exist(run):
    with pytest.raises(LauncherError, match="gpt-9"):
        run("purge", "--model", "gpt-9")


def test_figures(run):
    figures = json.loads(run("stats").output)
    assert figures["names"] >= len(KEYS) and figures["used_bytes"] > 0


def test_a_redis_that_is_away(run, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(LauncherError, match=r"Redis failed \(connection\)"):
        run("purge", "--all")
