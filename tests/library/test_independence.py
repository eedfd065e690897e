"""The library stands alone: no Airflow, nothing of plugins or the sandbox."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import imagesys_lib
names = [m.name for m in pkgutil.walk_packages(imagesys_lib.__path__, "imagesys_lib.") if ".migrations" not in m.name]
for name in names:
    importlib.import_module(name)
assert len(names) > 45, names
strange = {"airflow", "imagesys_airflow", "dags", "include"} & {name.partition(".")[0] for name in sys.modules}
assert not strange, strange
"""


def test_importing_every_module_of_the_library_leaves_airflow_out() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
