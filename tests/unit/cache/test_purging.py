import pytest

from deployments.cache import purging
from deployments.cache.key import cache_key, key_prefix
from deployments.cache.purging import Purge, PurgeableAnswers
from deployments.cache.store import MemoryStore


class Lossy(MemoryStore):
    """A store that can lose its marks, as one that needs room can."""

    def lose_marks(self):
        self._marks.clear()


def key(tenant: str, model: str) -> str:
    return cache_key(tenant, model, {"messages": []})


def hashes(tenant: str, model: str) -> tuple[str, str]:
    _, tenant, model, _ = key_prefix(tenant, model).split(":")
    return tenant, model


KEYS = [key(tenant, model) for tenant in ("acme", "umbrella") for model in ("guide", "other")]
ACME, GUIDE = hashes("acme", "guide")


@pytest.fixture
def store():
    return Lossy()


@pytest.fixture
async def answers(store):
    answers = PurgeableAnswers(store)
    await answers.store([(key, key.encode(), 60.0) for key in KEYS])
    return answers


async def found(answers: PurgeableAnswers) -> list[bool]:
    values, _ = await answers.lookup(KEYS)
    assert all(value in (None, key.encode()) for key, value in zip(KEYS, values, strict=True))
    return [value is not None for value in values]


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        (Purge(tenant=ACME), [False, False, True, True]),
        (Purge(model=GUIDE), [False, True, False, True]),
        (Purge(tenant=ACME, model=GUIDE), [False, True, True, True]),
        (Purge(key=KEYS[3]), [True, True, True, False]),
        (Purge(), [False] * 4),
        (Purge(tenant="0" * 16), [True] * 4),
    ],
)
async def test_a_purge_takes_its_scope_and_no_more(answers, purge, left):
    assert await found(answers) == [True] * 4
    _, before = await answers.lookup([])
    await answers.purge(purge)
    assert await found(answers) == left
    _, after = await answers.lookup([])
    assert before != after


async def test_what_is_stored_after_a_purge_is_found(answers):
    for purge in (Purge(tenant=ACME), Purge(model=GUIDE), Purge()):
        await answers.purge(purge)
        await answers.store([(KEYS[0], KEYS[0].encode(), 60.0)])
        assert (await found(answers))[0]


async def test_a_store_that_lost_its_marks_has_lost_the_answers_not_the_purge(answers, store):
    await answers.purge(Purge(tenant=ACME))
    store.lose_marks()
    assert await found(answers) == [False] * 4
    await answers.store([(KEYS[3], KEYS[3].encode(), 60.0)])
    assert await found(answers) == [False, False, False, True]


async def test_a_bounded_number_of_marks_is_kept(answers, store, monkeypatch):
    monkeypatch.setattr(purging, "MAX_MARKS", 5)
    for number in range(20):
        await answers.purge(Purge(tenant=f"{number}"))
    assert len(store._marks) <= 5
    assert await found(answers) == [False] * 4


async def test_what_bears_no_stamp_is_no_answer(answers, store):
    await store.set_many([(KEYS[0], b"\x01anything", 60.0), (KEYS[1], b"", 60.0), (KEYS[2], b"\x02short", 60.0)])
    assert (await answers.lookup(KEYS[:3]))[0] == [b"", b"", None]


async def test_keys_of_others_share_the_first_scope(answers):
    await answers.store([("anything", b"1", 60.0)])
    assert (await answers.lookup(["anything"]))[0] == [b"1"]
    await answers.purge(Purge())
    assert (await answers.lookup(["anything"]))[0] == [None]


async def test_what_began_before_a_purge_is_not_stored_after_it(answers):
    for purge in (Purge(key=KEYS[0]), Purge(tenant=ACME), Purge()):
        _, began = await answers.lookup([KEYS[0]])
        await answers.purge(purge)
        entries = [(key, key.encode(), 60.0) for key in KEYS[:2]]
        _, now = await answers.lookup([])
        await answers.store(entries, [began, now])
        assert (await found(answers))[:2] == [False, True], purge
    await answers.store(entries, [now, None])
    assert (await found(answers))[:2] == [True, True]


async def test_a_key_that_is_purged_while_it_is_stored_is_not_found(answers, store, monkeypatch):
    """Between the reading of the marks and the writing, and between the two steps of the purge."""
    set_many, delete, reached = store.set_many, store.delete, []

    async def purged_first(entries):
        monkeypatch.setattr(store, "set_many", set_many)
        await answers.purge(Purge(key=KEYS[0]))
        await set_many(entries)

    async def stored_meanwhile(key):
        monkeypatch.setattr(store, "delete", delete)
        await delete(key)
        await answers.store([(KEYS[0], KEYS[0].encode(), 60.0)])
        reached.append(key)

    monkeypatch.setattr(store, "set_many", purged_first)
    await answers.store([(KEYS[0], KEYS[0].encode(), 60.0)])
    assert await found(answers) == [False, True, True, True]
    monkeypatch.setattr(store, "delete", stored_meanwhile)
    await answers.purge(Purge(key=KEYS[0]))
    assert reached and await found(answers) == [False, True, True, True]
