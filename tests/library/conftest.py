"""What several of the library's tests share."""

from __future__ import annotations

import pytest

from imagesys_lib.ops.doctor import airflow_setup
from tests.support.world import World


@pytest.fixture
def patient(world: World) -> World:
    """A world in which the doctor does not look at Airflow: there is none here."""
    world.patch.setattr(airflow_setup, "examine", lambda _countries: iter(()))
    return world
