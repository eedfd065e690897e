"""Airflow's metadata database and pools, made in a process of its own: `python -m` this module."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping

from include.sandbox.errors import SandboxError
from include.sandbox.settings import PROJECT

POOLS = {"imagesys_download": 2, "imagesys_thumbnail": 2}

_SETUP_SECONDS = 180


def make_database(environment: Mapping[str, str]) -> None:
    """Make metadata database and pools of the Airflow that has this environment. Raises SandboxError if it fails."""
    result = subprocess.run(
        [sys.executable, "-m", "include.sandbox.services.airflow_database"],
        env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=_SETUP_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise SandboxError(f"Airflow's database could not be made:\n{result.stdout[-3000:]}{result.stderr[-3000:]}")


def _set_up() -> None:
    """Make the metadata database and the pools in one process: Airflow's imports take seconds each time."""
    from airflow.cli.cli_parser import get_parser  # noqa: PLC0415 - only this process needs Airflow itself

    parser: argparse.ArgumentParser = get_parser()
    commands = [["db", "migrate"]]
    commands += [["pools", "set", name, str(slots), "ImageSys"] for name, slots in POOLS.items()]
    for command in commands:
        arguments = parser.parse_args(command)
        arguments.func(arguments)


if __name__ == "__main__":
    _set_up()
