"""Hosts of raw answers, each on an address and port of its own, so that one host's fault slows no other; and TLS."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import socketserver
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.site import Answer, Site, requests_on, serving, whole

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Asked:
    """One request as it came; ``at`` is monotonic."""

    at: float
    path: str
    head: str


class RawHost(Site):
    """One host. ``answers`` may grow while it runs; ``otherwise`` answers what they do not name."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__((address, port))
        self.RequestHandlerClass = _Handler
        self.address, self.tls = address, tls
        self.host = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self.otherwise: Answer = whole(b"", status="404 Not Found")
        self.asked: list[Asked] = []

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}{path}"

    def put(self, path: str, answer: Answer) -> str:
        """Let ``path`` be answered so; returns its URL."""
        self.answers[path] = answer
        return self.url(path)

    def count(self, path: str) -> int:
        return sum(one.path == path for one in self.asked)

    def get_request(self) -> tuple[socket.socket, object]:
        sock, address = self.socket.accept()
        self.connections += 1
        if self.tls:
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address


class _Handler(socketserver.BaseRequestHandler):
    server: RawHost

    def handle(self) -> None:
        for path, head in requests_on(self.request):
            self.server.asked.append(Asked(time.monotonic(), path, head))
            answer = self.server.answers.get(path, self.server.otherwise)
            answer(self.request, path)
            if answer.__name__ != "kept":
                return


@contextlib.contextmanager
def serving_all(*servers: RawHost) -> Iterator[None]:
    """Run the hosts while the block runs."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(serving(server))
        yield


def after(seconds: float, answer: Answer) -> Answer:
    """The same answer, later."""

    def kept(sock: socket.socket, path: str) -> None:
        time.sleep(seconds)
        answer(sock, path)

    return kept


def in_turn(*answers: Answer) -> Answer:
    """The first answer at the first request, and so on; the last one from then on."""
    left = list(answers)

    def kept(sock: socket.socket, path: str) -> None:
        answer = left.pop(0) if len(left) > 1 else left[0]
        answer(sock, path)
        if answer.__name__ != "kept":
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    return kept


# Certificates


class Authority:
    """A certification authority that a test trusts; ``bundle`` is its own certificate as a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ImageSys test authority")])
        certificate = self._signed(self._name, self._key.public_key(), {}, is_authority=True)
        self.bundle = folder / "authority.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, name: str, address: str, *, age: int = 0, own: bool = False) -> ssl.SSLContext:
        """A server's TLS context for ``address``, as of ``age`` days ago, valid for two days; ``own``: self-signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = {"issuer": subject, "signer": key} if own else {}
        certificate = self._signed(subject, key.public_key(), signer, address=address, age=age)
        file = self._folder / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        signer: Mapping[str, object],
        *,
        address: str = "",
        age: int = 0,
        is_authority: bool = False,
    ) -> x509.Certificate:
        since = dt.datetime.now(dt.timezone.utc) - DAY * (age + 1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.get("issuer", self._name))  # type: ignore[arg-type]
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + 3 * DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if address:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer.get("signer", self._key), hashes.SHA256())  # type: ignore[arg-type]
