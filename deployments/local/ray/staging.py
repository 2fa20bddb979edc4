"""First what answers, then what is heavy.

Serve starts all replicas at once. On two cores an engine's
imports, 10 s of CPU, then slow down the ingress that is to say that the model
is loading: measured, 5.5 s to its start instead of 2.5. So the engines get no
replica in a first deployment, and theirs in a second, once the ingress is up;
Serve takes that as a change of scale and builds nothing anew.
"""

import copy
from typing import Any

from deployments.config import VLLMModel, model_of
from deployments.local.service_document import Tree, deployments_of, model_applications


def without_engines(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with no replica of any vLLM model."""
    light = copy.deepcopy(document)
    for application in model_applications(light):
        model = model_of(application["args"])
        if not isinstance(model, VLLMModel):
            continue
        (deployment,) = deployments_of(application) or [Tree(name=model.deployment)]
        application["deployments"] = [deployment]
        deployment.pop("num_replicas", None)  # Serve knows no fixed number of none
        deployment["autoscaling_config"] = {"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1}
    return light
