"""First what answers, then what is heavy.

Serve starts all replicas of an application at once. On two cores an engine's
imports, 10 s of CPU, then slow down the ingress that is to say that the model
is loading: measured, 5.5 s to its start instead of 2.5. So the engines get no
replica in a first deployment, and theirs in a second, once the ingress is up;
Serve takes that as a change of scale and builds nothing anew.
"""

import copy
from typing import Any

from deployments.config import Settings, VLLMModel


def without_engines(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with no replica of any vLLM model."""
    light = copy.deepcopy(document)
    for application in light["applications"]:
        models = Settings.model_validate(application["args"]).models
        heavy = {model.deployment for model in models if isinstance(model, VLLMModel)}
        named = {deployment["name"]: deployment for deployment in application.setdefault("deployments", [])}
        for name in heavy:
            if name not in named:
                named[name] = {"name": name}
                application["deployments"].append(named[name])
            # Serve knows no fixed number of none.
            named[name].pop("num_replicas", None)
            named[name]["autoscaling_config"] = {"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1}
    return light
