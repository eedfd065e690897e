"""Generated answers: what Chromium shows is fetched, by the same requests, and one answer costs one photo."""

from __future__ import annotations

import socket
import time

import pytest
from playwright.sync_api import Page

from tests.differential.agreement import assert_agreement
from tests.differential.answers.all import answers
from tests.differential.answers.base import answer
from tests.differential.chromium import looked_at
from tests.differential.exceptions.answers import EXCEPTIONS
from tests.differential.host import Host
from tests.differential.ours import Pipeline
from tests.differential.turns import rows_in_turn
from tests.support.raw_host import serving_all

pytestmark = pytest.mark.browser


def test_every_answer_is_a_photo_where_chromium_shows_one(hosts: tuple[Host, Host], page: Page, ours: Pipeline) -> None:
    host, other = hosts
    asked = {name: host.put_answer(n, data, other) for n, (name, data) in enumerate(answers().items())}
    photo = host.put_answer(len(asked), answer(), other)
    assert_agreement(rows_in_turn(asked, host, page, ours, looked_at(page, [photo])[photo]), EXCEPTIONS)


@pytest.mark.parametrize("pause", [0, 0.02])
@pytest.mark.parametrize("stray", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_empty_lines_behind_a_body_on_a_kept_connection_cost_no_photo(
    page: Page, ours: Pipeline, stray: bytes, pause: float
) -> None:
    """They come with the body, or when the connection has been used again."""

    def kept(sock: socket.socket, _path: str) -> None:
        sock.sendall(answer())
        time.sleep(pause)
        sock.sendall(stray)

    host = Host("127.0.0.12")
    urls = [host.put(f"/{n}", kept) for n in range(4)]
    with serving_all(host):
        assert all(looked_at(page, [url])[url] for url in urls)
        made = ours.made({url: ours.fetched(url) for url in urls})
    assert [made[url].reason for url in urls] == [""] * len(urls)
