"""How many examples are tried, and which. The same ones at every run, so that a red test stays red.

Others at every run, and many more: HYPOTHESIS_PROFILE=explore pytest -o timeout=1200 tests/property
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=150, stateful_step_count=30)
settings.register_profile(
    "explore",
    deadline=None,
    max_examples=5000,
    stateful_step_count=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
