"""How many examples Hypothesis tries: `quick` in every run, `thorough` where HYPOTHESIS_PROFILE says so.

A test says what is enough for every run, `@settings(max_examples=examples(60))`; thorough is fifty times as many
(`make properties`).
"""

import os
from typing import Final

from hypothesis import settings

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "quick")
_TIMES: Final = {"quick": 1, "thorough": 50}
_USUAL: Final = 35  # for a test that says nothing


def examples(quick: int) -> int:
    """The number of examples under this run's profile, for a test to which so many are enough in every run."""
    return quick * _TIMES[PROFILE]


def load() -> None:
    """Makes this run's profile Hypothesis' own. Where a change is judged (CI), the examples follow from the code alone:
    what nobody has changed does not stop a change; new examples are for everybody else's runs, and for `thorough`.
    """
    fixed = PROFILE == "quick" and bool(os.environ.get("CI"))
    for name, times in _TIMES.items():
        settings.register_profile(name, max_examples=_USUAL * times, deadline=None, derandomize=fixed)
    settings.load_profile(PROFILE)
