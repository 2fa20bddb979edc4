"""Which models are deployed, each in a Serve application of its own: read from Serve every second or so.

An ingress replica learns of models that come, change and go without being restarted, and no request waits for it.
While Serve's controller does not answer, what was known last is what there is.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import ValidationError

from deployments.config import BrokenModel, ModelBase, first_problem, model_of
from deployments.infra.ray.applications import DeployedApplication
from deployments.infra.ray.handles import CALL_ERRORS
from deployments.models.shared_identity import shared_identities

logger = logging.getLogger(__name__)

BUILDER = "deployments.app:build_model"
ENTRY = "Entry"
"""The deployment in each model's application that has no replica."""
POLL_S, JITTER_S = 1.0, 0.5
TIMEOUT_S = 2.0
OPEN_TIMEOUT_S = 10.0
MAX_REASON = 600


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """A model, the Serve application that it is in, and the identities of it and its adapters, by their ids."""

    application: str
    settings: ModelBase
    identities: Mapping[str, str] = field(default_factory=dict[str, str])
    problem: str = ""
    """Why it cannot be served, for administrators."""


class Configuration(Protocol):
    """What is deployed."""

    async def applications(self, timeout_s: float) -> Sequence[DeployedApplication]:
        """Return the applications; raises TimeoutError, and CALL_ERRORS."""
        ...

    async def aclose(self) -> None:
        """Give up what is under way."""
        ...


class ModelDirectory:
    """Follows the models that are deployed, and calls `changed` with all of them whenever they are others."""

    def __init__(self, configuration: Configuration, changed: Callable[[Sequence[DeployedModel]], None]) -> None:
        self._configuration = configuration
        self._changed = changed
        self._models: Sequence[DeployedModel] = []
        self._valid: dict[str, DeployedModel] = {}
        self._poll: asyncio.Task[None] | None = None
        self._is_silent = False

    async def open(self) -> None:
        """Read what there is, so that the first request finds every model, unless that takes 10 s; and follow it."""
        was_read = asyncio.Event()
        self._poll = asyncio.create_task(self._follow(was_read), name="models")
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await was_read.wait()

    async def aclose(self) -> None:
        """Stop following it."""
        if self._poll is not None:
            self._poll.cancel()
            with suppress(asyncio.CancelledError):
                await self._poll
        await self._configuration.aclose()

    async def refresh(self) -> None:
        """Read what is deployed now, and notify if that has changed."""
        try:
            applications = await self._configuration.applications(TIMEOUT_S)
        except (TimeoutError, *CALL_ERRORS) as error:
            if not self._is_silent:
                logger.warning("Serve's controller does not list the models", extra={"error": type(error).__name__})
            self._is_silent = True
            return
        self._is_silent = False
        built = [application for application in applications if application.is_built_by(BUILDER)]
        models = await asyncio.to_thread(lambda: [self._understood(one) for one in built])
        if models != self._models:
            logger.info("the models have changed: %s", ", ".join(model.settings.id for model in models) or "none")
            self._models = models
            self._changed(models)

    async def _follow(self, was_read: asyncio.Event) -> None:
        while True:
            try:
                await self.refresh()
            except Exception:
                logger.exception("the deployed models cannot be read")
            was_read.set()
            await asyncio.sleep(POLL_S + random.uniform(0, JITTER_S))  # noqa: S311 - jitter

    def _understood(self, application: DeployedApplication) -> DeployedModel:
        """Return an application's model; one whose arguments are wrong costs no other its place.

        Where they were right before, the replicas that run still serve what was right: Serve builds nothing from them.
        """
        try:
            model = model_of(application.args)
            found = DeployedModel(application.name, model, shared_identities(model))
        except (ValueError, OSError) as error:
            reason = _reason(error)
            if known := self._valid.get(application.name):
                logger.warning("a model's new arguments are wrong", extra={"model": known.settings.id, "why": reason})
                return known
            return DeployedModel(application.name, BrokenModel(id=_identifier(application)), problem=reason)
        self._valid[application.name] = found
        return found


def _reason(error: ValueError | OSError) -> str:
    reason = first_problem(error, "args") if isinstance(error, ValidationError) else str(error)
    return reason[:MAX_REASON]


def _identifier(application: DeployedApplication) -> str:
    """Return the id that its arguments give, else the application's name, as far as either can be an id."""
    for name in (application.args.get("id"), application.name):
        with suppress(ValidationError):
            return BrokenModel.model_validate({"id": name}).id
    return "unnamed"
