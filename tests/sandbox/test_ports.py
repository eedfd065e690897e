"""Two checkouts, and the workers of one, run their tests at once: each takes ports that nobody else takes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from include.sandbox.services.ports import BLOCK, take_block
from include.sandbox.settings import PROJECT

TAKE = "from include.sandbox.services.ports import take_block; print(take_block(), flush=True); input()"


@pytest.fixture
def sessions() -> Iterator[list[subprocess.Popen[str]]]:
    """Three other test sessions, each with its block."""
    command = [sys.executable, "-c", TAKE]
    made = [
        subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    yield made
    for session in made:
        session.kill()
        session.communicate()


def first_port(session: subprocess.Popen[str]) -> int:
    assert session.stdout is not None
    return int(session.stdout.readline())


def test_sessions_at_once_share_no_port(sessions: list[subprocess.Popen[str]]) -> None:
    taken = {take_block(), *(first_port(session) for session in sessions)}
    assert len(taken) == 4
    assert all(abs(one - other) >= BLOCK for one in taken for other in taken - {one})


def test_the_block_of_a_killed_session_is_free_again(sessions: list[subprocess.Popen[str]]) -> None:
    ports = [first_port(session) for session in sessions]
    for session in sessions:
        session.kill()
        session.wait()
    assert take_block() <= max(ports)


def test_a_block_in_which_a_stranger_listens_is_passed_over(sessions: list[subprocess.Popen[str]]) -> None:
    ports = [first_port(session) for session in sessions]
    sessions[0].kill()
    sessions[0].wait()
    with socket.create_server(("127.0.0.1", ports[0] + BLOCK - 1)):
        assert take_block() != ports[0]
