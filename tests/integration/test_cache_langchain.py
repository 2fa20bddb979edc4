import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite

from deployments.cache.langchain_store import PREFIX, RedisCache
from deployments.cache.store import MemoryStore, RedisStore


@pytest.fixture
def redis_cache(valkey_url, request):
    cache = RedisCache(RedisStore(valkey_url, f"test-{request.node.name}", read_timeout_s=5))
    cache.clear()
    yield cache
    cache.clear()
    cache.close()


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, redis_cache):
        return redis_cache


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, redis_cache):
        return redis_cache


def test_a_chat_model_answers_the_second_time_from_the_cache(redis_cache):
    model = FakeListChatModel(responses=["first", "second"], cache=redis_cache)
    assert [model.invoke("Hello").content for _ in range(2)] == ["first", "first"]
    assert model.invoke("Goodbye").content == "second"


async def test_threads_and_loops_share_one_cache(redis_cache):
    calls = [{"name": "weather", "args": {"town": "Bonn"}, "id": "1", "type": "tool_call"}]
    generation = ChatGeneration(message=AIMessage("", tool_calls=calls))
    redis_cache.update("prompt", "model", [generation])
    assert await redis_cache.alookup("prompt", "model") == [generation]


@pytest.mark.parametrize(
    "stored",
    [
        b"not json",
        b"\xff",
        b"[]",
        b"[1]",
        b"{}",
        b'[{"lc": 1, "type": "secret", "id": ["PATH"]}]',
        b'[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "output", "Generation"], "kwargs": {}}]',
        b'[{"lc": 1, "type": "constructor", "id": ["langchain", "prompts", "prompt", "PromptTemplate"], '
        b'"kwargs": {"template": "x", "input_variables": []}}]',
    ],
)
async def test_what_is_no_generation_is_a_miss(stored, monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr("deployments.cache.langchain_store._key", lambda *_: f"{PREFIX}key")
    await store.set_many([(f"{PREFIX}key", stored, 60.0)])
    cache = RedisCache(store)
    assert await cache.alookup("prompt", "model") is None
    cache.close()


def test_a_redis_that_is_away_is_a_miss():
    cache = RedisCache("redis://127.0.0.1:1/0")
    cache.update("prompt", "model", [Generation(text="lost")])
    assert cache.lookup("prompt", "model") is None
    cache.close()
