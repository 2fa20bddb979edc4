"""When a scripted model's tokens come."""

import asyncio
from statistics import median

import pytest

from deployments.config import ScriptedModel
from deployments.models.protocol import Frames, ModelRequest
from deployments.models.scripted.replica import ScriptedReplica

pytestmark = pytest.mark.alone
STEP_S = 0.2


async def moments(replica, delay_s=0.0):
    """Return when each token of an answer came, without its opening and its end."""
    await asyncio.sleep(delay_s)
    body = b'{"messages": [{"role": "user", "content": "Hello there"}], "stream": true}'
    answer = replica.generate(ModelRequest("id", body, True))
    came = [asyncio.get_running_loop().time() async for message in answer if isinstance(message, Frames)]
    return came[1:-1]


async def test_in_step_all_answers_have_their_tokens_at_the_same_moments():
    replica = ScriptedReplica(ScriptedModel(id="m", kind="scripted", tokens=6, token_ms=STEP_S * 1e3, in_step=True))
    first, second = await asyncio.gather(moments(replica), moments(replica, 0.4 * STEP_S))
    assert len(first) == len(second) == 6
    assert median(_distances(second, first)) < 0.2 * STEP_S
    assert first[-1] - first[0] > 4.5 * STEP_S


async def test_each_answer_has_a_pace_of_its_own_where_nothing_else_is_said():
    replica = ScriptedReplica(ScriptedModel(id="m", kind="scripted", tokens=6, token_ms=STEP_S * 1e3))
    await moments(replica)  # so that nothing is done for the first time below
    first, second = await asyncio.gather(moments(replica), moments(replica, 0.5 * STEP_S))
    assert median(_distances(second, first)) > 0.2 * STEP_S


def _distances(moments, others):
    """Return how far each of the first five is from the nearest of the others."""
    return [min(abs(moment - other) for other in others) for moment in moments[:5]]


async def test_a_late_step_makes_the_following_ones_not_hurry():
    replica = ScriptedReplica(ScriptedModel(id="m", kind="scripted", tokens=8, token_ms=STEP_S * 1e3, in_step=True))
    asked = asyncio.create_task(moments(replica))
    await asyncio.sleep(2.5 * STEP_S)
    blocked_until = asyncio.get_running_loop().time() + 3 * STEP_S
    while asyncio.get_running_loop().time() < blocked_until:
        pass
    came = [moment for moment in await asked if moment >= blocked_until]
    assert len(came) >= 3 and came[2] - came[0] > STEP_S
