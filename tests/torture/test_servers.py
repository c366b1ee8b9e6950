"""A minute of `make torture ARGS=--servers`: real processes killed and stopped under steady work, a clock set back."""

from pathlib import Path
from random import Random

import pytest

from tests.torture.servers.__main__ import worked
from tests.torture.servers.drill import down, planned, strike
from tests.torture.servers.stack import stack
from tests.torture.servers.states import clock_file, clock_set_back

pytestmark = [pytest.mark.torture, pytest.mark.kafka, pytest.mark.postgres]
_VICTIMS = ("broker", "postgres", "gateway", "policy")


@pytest.mark.timeout(600)
def test_nothing_is_lost_and_the_service_comes_back(tmp_path: Path) -> None:
    """SIGKILL and SIGSTOP of each, one at a time, then the clock: acknowledged ⊆ readable, no event twice, released ⊆
    audited, and the service is back by itself within ten seconds of each return.
    """
    random = Random("slice")
    with (
        clock_file(tmp_path / "clock") as clock,
        stack(clock_file=str(clock.file)) as made,
        worked(made) as (_, witness),
    ):
        for name, fault in planned(_VICTIMS, random, 2 * len(_VICTIMS)):
            strike(made, name, fault, down(fault, random, 2.0))
        clock_set_back(made, clock, witness)
