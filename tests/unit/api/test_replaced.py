"""A replica that Serve stops already leaves in order when the whole service stops, however long it was to go on."""

import asyncio
import time

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from deployments.api import leaving
from deployments.api.http.intake import Intake
from deployments.config import ScriptedModel
from tests.unit.api.conftest import running

SLOW = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)


async def test_it_leaves_its_responses_to_the_next_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "_stops_at", time.time)
    applications: list[FastAPI] = []

    def kept(application: ASGIApp) -> ASGIApp:
        assert isinstance(application, FastAPI)
        applications.append(application)
        return application

    async with running(SLOW, around=kept) as service:
        asked = {"model": "slow", "input": "hello", "background": True}
        path = f"/v1/responses/{(await service.http.post('/v1/responses', json=asked)).json()['id']}"
        async with asyncio.timeout(5):
            while not await service.models.replicas["slow"].running():
                await asyncio.sleep(0.01)
        intake = Intake()
        leaving.retire(applications[0].state.services, intake, 100.0)
        assert intake.ending is not None
        await asyncio.wait_for(intake.ending, 5)
        assert not await service.models.replicas["slow"].running()
        status = (await service.http.get(path)).json()["status"]
        assert status in ("queued", "in_progress"), "another replica goes on with it"
