"""A pytest plugin for mutation runs: few examples, always the same, and a failure is not made smaller.

A mutant is dead at the first failing example; to look for a smaller one would take most of the time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutation",
    max_examples=20,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
