"""What all unit tests share: how randomized tests try their examples."""

from hypothesis import HealthCheck, settings

from tests.budgets import examples

# How long an example takes says how busy the machine is, nothing of the code.
settings.register_profile(
    "here", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")
