"""What several of the library's tests share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from imagesys_lib.ops.doctor import airflow as airflow_setup
from tests.support.world import World


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that puts a process's clock wrong."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture
def patient(world: World) -> World:
    """A world in which the doctor does not look at Airflow: there is none here."""
    world.patch.setattr(airflow_setup, "examine", lambda _countries: iter(()))
    return world
