"""What an ingress replica goes by: its arguments, its `user_config`, and the models that are deployed."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from ray.serve.handle import DeploymentHandle

from deployments.config import IngressUserConfig, Settings, first_problem
from deployments.infra.ray.applications import handle_to
from deployments.models.client import APPLICATION, ServedModel
from deployments.models.directory import DeployedModel

logger = logging.getLogger(__name__)

Handles = Mapping[str, DeploymentHandle[Any]]


class IngressConfiguration:
    """Puts the three together; `settings` and `served` are what follows from them now."""

    def __init__(self, arguments: Settings, identities: Mapping[str, str], handles: Handles) -> None:
        """`arguments` may hold models, which are then in the ingress's own application, with `handles` by their ids."""
        self._arguments = arguments
        self._changes = IngressUserConfig()
        self._own = [DeployedModel(APPLICATION, model, identities) for model in arguments.models]
        self._handles = handles
        self._refused = ""
        self._found: Sequence[DeployedModel] = []
        self.settings = arguments
        self.served: dict[str, ServedModel] = {}
        self._combine()

    @property
    def problems(self) -> list[str]:
        """What is wrong, for administrators: a refused `user_config`, names of no model, models that are twice."""
        refused = [f"user_config of Ingress: {self._refused} What was set before stays in force."]
        return [*(refused if self._refused else []), *self._twice, *self.settings.problems]

    def change(self, user_config: object) -> bool:
        """Take what may change in place, whether it is valid; an invalid one changes nothing and is a problem."""
        try:
            changes = IngressUserConfig.model_validate(user_config or {})
        except ValidationError as error:
            self._refused = f"{first_problem(error)}."
            logger.error("the user_config of the ingress is refused", extra={"reason": self._refused})
            return False
        self._refused, self._changes = "", changes
        self._combine()
        return True

    def restore(self, user_config: object) -> None:
        """Take what was valid before, in a replica that has seen nothing valid; what was refused stays a problem."""
        with suppress(ValidationError):
            self._changes = IngressUserConfig.model_validate(user_config or {})
        self._combine()

    def find(self, models: Sequence[DeployedModel]) -> None:
        """Replace the models that were found before with these."""
        self._found = models
        self._combine()

    def _combine(self) -> None:
        models: dict[str, DeployedModel] = {}
        self._twice: list[str] = []
        for model in (*self._own, *self._found):
            first = models.setdefault(model.settings.id, model)
            if first is not model:
                places = f"{first.application!r} and {model.application!r}"
                self._twice.append(f"the applications {places} both serve {model.settings.id!r}: the first one counts")
        self.settings = self._arguments.serving([model.settings for model in models.values()], self._changes)
        self.served = {}
        for settings in self.settings.models:
            model = models[settings.id]
            handle = None if model.problem else self._handle(model)
            for name in (settings.id, *settings.adapter_ids):
                identity = model.identities.get(name, "")
                self.served[name] = ServedModel(settings, identity, handle, model.application, model.problem)

    def _handle(self, model: DeployedModel) -> DeploymentHandle[Any]:
        own = self._handles.get(model.settings.id) if model in self._own else None
        return own or handle_to(model.application, model.settings.deployment)
