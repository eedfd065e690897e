"""Fetching: every way in which a server can fail us, and the one reason for each."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import ssl
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from imagesys_lib.fetch.http.faults import curl_fault
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.images.reasons import ImageFault
from tests.support.site import (
    BODY,
    Handler,
    Site,
    code,
    drip,
    fault,
    get,
    raw,
    redirect,
    reset,
    serving,
    settings,
    whole,
)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def test_an_announced_length_over_the_cap_is_not_read(site, tmp_path):
    site.answers["/a"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n", 0.5)
    site.answers["/absurd"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 0.5)
    began = time.monotonic()
    assert code(site.url("/a"), tmp_path) == "too_large"
    assert code(site.url("/absurd"), tmp_path) == "too_large"
    assert time.monotonic() - began < 0.5


def test_an_endless_body_is_cut_at_the_cap(site, tmp_path):
    site.answers["/a"] = drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 50_000, 0.0)
    assert code(site.url("/a"), tmp_path) == "too_large"
    assert code(site.url("/a"), tmp_path, max_bytes=1_000_000) == "too_large"  # partly on disk already


def test_a_body_of_exactly_the_cap_is_taken(site, tmp_path):
    site.answers["/a"] = whole(b"x" * 200_000)
    assert get(site.url("/a"), tmp_path / "x").size == 200_000


def test_gzip_is_decoded_and_a_bomb_is_cut_on_decoded_bytes(site, tmp_path):
    site.answers["/a"] = whole(gzip.compress(BODY), "Content-Encoding: gzip")
    site.answers["/deflate"] = whole(zlib.compress(BODY), "Content-Encoding: deflate")
    for path in ("/a", "/deflate"):
        assert get(site.url(path), tmp_path / "x").sha1 == hashlib.sha1(BODY).hexdigest()  # noqa: S324
    bomb = gzip.compress(gzip.compress(bytes(100_000_000)))
    site.answers["/bomb"] = whole(bomb, "Content-Encoding: gzip, gzip")
    assert len(bomb) < 10_000
    assert code(site.url("/bomb"), tmp_path / "none") == "too_large"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, gzip, gzip, gzip, gzip, gzip, gzip"])
def test_a_broken_encoding_or_one_that_nobody_asked_for_is_a_protocol_fault(site, tmp_path, coding):
    site.answers["/a"] = whole(BODY, f"Content-Encoding: {coding}")
    assert code(site.url("/a"), tmp_path) == "protocol"


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (raw(OK + b"Content-Length: 100\r\n\r\nabc"), "truncated"),
        (raw(OK + b"Content-Length: 100\r\n\r\n"), "truncated"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nabc"), "truncated"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "truncated"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "protocol"),
        (reset(OK + b"Content-Length: 100\r\n\r\nabc"), "truncated"),
        (reset(OK + b"\r\nabc"), "truncated"),
        (reset(), "connect"),
        (reset(b"HTTP/1.1 200"), "connect"),
        (raw(), "connect"),
        (raw(OK + b"X: y"), "protocol"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
        (raw(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 000 OK\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 101 Switching\r\n\r\n", 0.2), "connect"),
        (raw(OK + b"Content-Length: 5, 6\r\n\r\nabcde"), "protocol"),
        (raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"), "protocol"),
        (raw(OK + b"X: y\r\n" * 6000 + b"\r\n"), "protocol"),
        (raw(OK + (b"X: " + b"y" * 70_000 + b"\r\n") * 4 + b"\r\n"), "protocol"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000), "protocol"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"X: y\r\n" * 60_000 + b"\r\n"), "protocol"),
        (whole(b""), "not_an_image"),
        (whole(b"", status="204 No Content"), "not_an_image"),
        (raw(OK + b"\r\n"), "not_an_image"),
        (raw(2.5), "timeout"),
        (raw(OK + b"Content-Length: 100\r\n\r\nabc", 2.5), "timeout"),
        (raw(OK + b"\r\n" + b"x" * 5000, 0.3, b"abc", 2.5), "timeout"),
        (raw(OK, 2.5), "too_slow"),
        (drip(OK + b"\r\n", b"x" * 20, 0.1), "too_slow"),
        (drip(OK + b"X: "), "too_slow"),
    ],
)
def test_each_broken_answer_has_its_reason(site, tmp_path, answer, expected):
    site.answers["/a"] = answer
    began = time.monotonic()
    error = fault(site.url("/a"), tmp_path)
    assert error.reason.code == expected
    assert error.detail.startswith(f"127.0.0.1:{site.port}: ")
    assert time.monotonic() - began < 1.8  # read_timeout is 1 s, image_deadline 5 s


def test_a_server_that_thinks_for_a_while_and_then_is_quick_is_waited_for(site, tmp_path):
    site.answers["/a"] = raw(0.8, OK + b"\r\n" + b"x" * 5000, 0.8, b"x" * 5000)
    assert get(site.url("/a"), tmp_path / "x").size == 10_000


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 ", OK + b"X: ", OK + b"Content-Length: 9999\r\n\r\n"], ids=["status", "head", "body"]
)
def test_a_server_that_drips_is_cut_at_the_deadline(site, tmp_path, start):
    site.answers["/a"] = drip(start)
    began = time.monotonic()
    assert code(site.url("/a"), tmp_path, image_deadline=0.6) == "too_slow"
    assert time.monotonic() - began < 1.2


def test_a_quick_endless_body_is_cut_at_the_deadline_too(site, tmp_path):
    site.answers["/a"] = drip(OK + b"\r\n", b"x" * 1000, 0.05)
    assert code(site.url("/a"), tmp_path, image_deadline=0.6, read_timeout=0.3) == "too_slow"


def test_the_deadline_spans_redirects(site, tmp_path):
    def slow(sock: socket.socket, path: str) -> None:
        time.sleep(0.4)
        redirect("/a")(sock, path)

    site.answers["/a"] = slow
    assert code(site.url("/a"), tmp_path, image_deadline=0.6, max_redirects=20) == "too_slow"


def test_a_refused_connection_and_an_unknown_host(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert code(f"http://127.0.0.1:{port}/a", tmp_path) == "connect"
    error = fault("http://no-such-host.invalid/a?token=1", tmp_path)
    assert error.reason.code == "dns"
    assert error.detail == "no-such-host.invalid: Could not resolve host: no-such-host.invalid"


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port where connections are never accepted: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def test_a_connection_that_is_never_accepted_is_a_timeout(tmp_path, deaf):
    began = time.monotonic()
    # The connect time-out alone counts until the connection is there, however short the read time-out.
    assert code(f"http://127.0.0.1:{deaf}/a", tmp_path, connect_timeout=0.8, read_timeout=0.2) == "timeout"
    assert 0.7 < time.monotonic() - began < 1.5


def test_a_connection_that_takes_the_whole_deadline_is_too_slow(tmp_path, deaf):
    assert code(f"http://127.0.0.1:{deaf}/a", tmp_path, connect_timeout=3, image_deadline=0.5) == "too_slow"


@pytest.mark.parametrize(
    ("number", "in_body", "expected"),
    [
        (56, True, "truncated"),
        (56, False, "connect"),
        (23, True, "protocol"),
        (97, False, "connect"),
        (4711, False, "protocol"),
    ],
)
def test_curls_errors_have_reasons(number, in_body, expected):
    assert curl_fault(number, "", "a.example", in_body=in_body).reason.code == expected


class TLSSite(Site):
    """The same behind TLS."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)

    def get_request(self):
        sock, address = self.socket.accept()
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """Self-signed certificates of the name localhost: good.pem, and expired.pem."""
    folder = tmp_path_factory.mktemp("tls")
    base = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    old = " -not_before 20200101000000Z -not_after 20200201000000Z"
    for name, dates in (("good", " -days 1"), ("expired", old)):
        command = f"{base} -keyout {name}.key -out {name}.pem{dates}"
        made = subprocess.run(command.split(), cwd=folder, capture_output=True, timeout=60, check=False)
        if made.returncode:  # an openssl before 3.4 cannot set the dates of a certificate directly
            expire(folder, name)
    return folder


def expire(folder: Path, name: str) -> None:
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        "x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost\n"
    )
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    dates = "-notext -startdate 20200101000000Z -enddate 20200201000000Z"
    for command in (
        f"openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {name}.key -out {name}.csr",
        f"openssl ca -batch -config ca.cnf -selfsign -keyfile {name}.key -in {name}.csr -out {name}.pem {dates}",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture
def tls_site(certificates) -> Iterator[Site]:
    with serving(TLSSite(certificates / "good.pem", certificates / "good.key")) as server:
        server.answers |= {"/a": whole(), "/drip": drip(b"HTTP/1.1 200 OK\r\n\r\n")}
        yield server


@pytest.fixture
def trusted(certificates, monkeypatch) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(certificates / "good.pem"))


def test_an_untrusted_certificate_is_recorded_not_ignored(tls_site, tmp_path, certificates, monkeypatch):
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):  # none of which may make it trusted
        monkeypatch.setenv(name, str(certificates / "good.pem"))
    error = fault(f"https://localhost:{tls_site.port}/a", tmp_path)
    assert error.reason.code == "tls"
    assert "self-signed" in error.detail
    assert tls_site.requests == []


def test_an_expired_certificate_is_refused(certificates, tmp_path, monkeypatch):
    monkeypatch.setattr(certifi, "where", lambda: str(certificates / "expired.pem"))
    with serving(TLSSite(certificates / "expired.pem", certificates / "expired.key")) as server:
        error = fault(f"https://localhost:{server.port}/a", tmp_path)
    assert error.reason.code == "tls"
    assert "expired" in error.detail


def test_a_certificate_of_another_name_is_refused(tls_site, tmp_path, trusted):
    assert code(f"https://127.0.0.1:{tls_site.port}/a", tmp_path) == "tls"


def test_plain_http_on_a_tls_port_is_a_tls_fault(site, tmp_path, monkeypatch):
    def speak_first(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        time.sleep(0.2)

    monkeypatch.setattr(Handler, "handle", lambda self: speak_first(self.request))
    assert code(f"https://127.0.0.1:{site.port}/a", tmp_path) == "tls"


def test_a_trusted_tls_host_is_fetched_under_the_same_deadline(tls_site, tmp_path, trusted):
    with Fetcher(settings(image_deadline=0.6)) as fetcher:
        for name in ("x", "y"):
            assert fetcher.fetch(f"https://localhost:{tls_site.port}/a", tmp_path / name).size == len(BODY)
        assert tls_site.connections == 1
        with pytest.raises(ImageFault, match="too_slow"):
            fetcher.fetch(f"https://localhost:{tls_site.port}/drip", tmp_path / "z")
