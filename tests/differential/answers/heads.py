"""Answers that are odd in their status line, their interim answers or their header lines."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.answers.base import JPEG, SIZED, answer


def _status_lines() -> Iterator[tuple[str, bytes]]:
    for line in (
        b"HTTP/1.1 200OK", b"HTTP/1.1 200.1", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"http/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/1.9 200 OK", b"HTTP/2 200",
        b"HTTP/2.0 200 OK",
        b"HTTP/3.0 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.10 200 OK", b"HTTP/11 200 OK", b"HTTP/1. 200 OK",
        b"HTTP/.1 200 OK",
        b"HTTP/ 200 OK", b"HTTP 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 OK",
        b"HTTP/1.1 -200 OK", b"HTTP/1.1 +200 OK", b"HTTP/1.1 0 OK", b"HTTP/1.1 000 OK", b"HTTP/1.1 099 OK",
        b"HTTP/1.1 0200 OK", b"HTTP/1.1 2OO OK", b"HTTP/1.1 200-OK", b"HTTP/1.1 200;OK", b"HTTP/1.1", b"HTTP/1.1 ",
        b"ICY 200 OK", b"SIP/2.0 200 OK", b"XTTP/1.1 200 OK", b"200 OK", b"HTTP/1.1 200 caf\xe9",
        b"HTTP/1.1 200 a\x01b",
        b"HTTP/1.1 200 a\x00b", b"HTTP/1.1 200\x00", b"HTTP/1.1 200 " + b"x" * 10_000,
        b"HTTP/1.1 200 " + b"x" * 300_000,
        b"HTTP/1.1 " + b"5" * 60 + b" X", b"HTTP/1.1 " + b"5" * 5000 + b" X", b"HTTP/1.1 200" + b"0" * 60 + b" X",
        b"HTTP/1.1 4294967496 OK", b"HTTP/1.1 18446744073709551816 OK",
    ):  # fmt: skip
        yield f"status line {line[:60].decode('latin-1')!r} of {len(line)}", line + b"\r\n" + SIZED
    for first in (
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b"x",
        b"\r\n\r\n",
        b"\n\n\n",
        b"\xef\xbb\xbf",
        b"junk\r\n",
        b"1234",
        b"12345",
    ):
        yield f"{first!r} before the status line", first + answer()
    yield "an empty line and no more", b"\r\n"
    yield "nothing", b""
    yield "a photo without a head", JPEG
    yield "a page without a head", b"<html><p>hello"
    yield "a head that is cut", b"HTTP/1.1 200 OK\r\nContent-Le"
    yield "a status line that is cut", b"HTTP/1.1 20"
    yield "half of HTTP", b"HTT"
    yield "a head without its empty line", b"HTTP/1.1 200 OK\r\nX: y\r\n"


def _interim() -> Iterator[tuple[str, bytes]]:
    hundred, photo = b"HTTP/1.1 100 Continue\r\n\r\n", answer()
    yield "100 first", hundred + photo
    yield "100 with an empty line too many", hundred + b"\r\n" + photo
    yield "100 with two empty lines too many", hundred + b"\r\n\r\n" + photo
    yield "100 with a line feed too many", hundred + b"\n" + photo
    yield "100 with headers", b"HTTP/1.1 100 Continue\r\nX: y\r\nContent-Length: 5\r\n\r\n" + photo
    yield "100 with a body", b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + photo
    for count in (2, 10, 50):
        yield f"100 {count} times", hundred * count + photo
    for status in (101, 102, 103, 199):
        yield f"{status} first", b"HTTP/1.1 %d X\r\nLink: <x>\r\n\r\n" % status + photo
    yield "100 and no more", hundred
    yield "103 and no more", b"HTTP/1.1 103 X\r\n\r\n"
    yield "101 of an upgrade first", b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + photo


def _header_lines() -> Iterator[tuple[str, bytes]]:
    for name, line in (
        ("folded", b"X-A: one\r\n two"),
        ("folded by a tab", b"X-A: one\r\n\ttwo"),
        ("folded to nothing", b"X-A:\r\n "),
        ("first and folded", b" X-A: one"),
        ("without a colon", b"hello"),
        ("without a colon, with blanks", b"hello you there"),
        ("without a name", b": one"),
        ("of a colon", b":"),
        ("with a blank before its colon", b"X-A : one"),
        ("with a blank in its name", b"X A: one"),
        ("with a NUL in its value", b"X-A: o\0ne"),
        ("with a NUL in its name", b"X\0A: one"),
        ("with a NUL at its end", b"X-A: one\0"),
        ("with control characters", b"X-A: o\x01\x02\x7fne"),
        ("in latin-1", b"X-A: caf\xe9"),
        ("named in latin-1", b"X-\xe9: one"),
        ("in UTF-8", "X-A: 写真".encode()),
        ("with a CR in its value", b"X-A: o\rne"),
        ("with two CRs", b"X-A: one\r"),
        ("of 20,000 bytes", b"X-A: " + b"x" * 20_000),
        ("of 100,000 bytes", b"X-A: " + b"x" * 100_000),
        ("of 200,000 bytes", b"X-A: " + b"x" * 200_000),
        ("of 300,000 bytes", b"X-A: " + b"x" * 300_000),
        ("with a name of 10,000 bytes", b"x" * 10_000 + b": a"),
        ("that is a cookie", b"Set-Cookie: a=b"),
        ("that is an old cookie", b"Set-Cookie: =; Max-Age=-1"),
        ("that announces another service", b'Alt-Svc: h3=":443"; ma=99'),
        ("that forbids to guess the type", b"X-Content-Type-Options: nosniff"),
        ("that asks for a download", b"Content-Disposition: attachment; filename=x"),
        ("that asks to go elsewhere", b"Refresh: 0; url=/elsewhere"),
        ("that is a Location beside 200", b"Location: /elsewhere"),
        ("that keeps the connection", b"Connection: keep-alive"),
        ("that names HTTP/2", b"Upgrade: h2,h2c\r\nConnection: Upgrade"),
        ("that needs the same origin", b"Cross-Origin-Resource-Policy: same-origin"),
    ):
        yield f"a header line {name}", answer(line)
    for count in (99, 101, 200, 500, 1000, 2000):
        yield f"{count} header lines", answer(*[b"X-%d: one" % n for n in range(count)])
    yield "300 cookies", answer(*[b"Set-Cookie: a%d=b" % n for n in range(300)])
    plain = answer(b"X-A: one")
    head, _, body = plain.partition(b"\r\n\r\n")
    yield "lines that end in a line feed", head.replace(b"\r\n", b"\n") + b"\n\n" + body
    yield "lines that end in a carriage return", head.replace(b"\r\n", b"\r") + b"\r\r" + body
    yield "a status line that ends in a line feed", plain.replace(b"\r\n", b"\n", 1)
    yield "an empty line that is a line feed", head + b"\r\n\n" + body
    yield "lines that end in two carriage returns", head.replace(b"\r\n", b"\r\r\n") + b"\r\r\n\r\r\n" + body


def _types() -> Iterator[tuple[str, bytes]]:
    for kind in (
        b"text/html", b"text/plain", b"application/json", b"application/octet-stream", b"application/xml", b"image/png",
        b"image/svg+xml", b"image/webp", b"image/jpg", b"IMAGE/JPEG", b"image/jpeg; charset=utf-8", b"video/mp4", b"",
        b"*/*",
        b"nonsense", b"multipart/x-mixed-replace", b"application/pdf", b"text/css", b"image/jpeg, text/html", b"image",
        b"multipart/mixed; boundary=x",
    ):  # fmt: skip
        name = kind.decode() or "nothing"
        yield f"a photo called {name}", answer(b"Content-Type: " + kind)
        yield (
            f"a photo called {name}, not to be guessed",
            answer(b"Content-Type: " + kind, b"X-Content-Type-Options: nosniff"),
        )
    yield "a photo called HTML and JPEG", answer(b"Content-Type: text/html", b"Content-Type: image/jpeg")
    yield "a page called a photo", answer(b"Content-Type: image/jpeg", body=b"<html><p>hello")


def _statuses() -> Iterator[tuple[str, bytes]]:
    for status in (
        201, 202, 203, 204, 205, 206, 207, 208, 226, 250, 299, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 399,
        400, 401,
        402, 403, 404, 406, 408, 410, 416, 418, 421, 425, 429, 451, 499, 500, 501, 502, 503, 504, 511, 599, 600, 700,
        999,
    ):  # fmt: skip
        yield f"{status} with a photo", answer(status=b"%d X" % status)
        yield f"{status} with nothing", answer(status=b"%d X" % status, body=b"")
    yield "206 of the whole", answer(b"Content-Range: bytes 0-%d/%d" % (len(JPEG) - 1, len(JPEG)), status=b"206 X")
    yield (
        "206 of another part",
        answer(b"Content-Range: bytes 9-%d/%d" % (len(JPEG) + 8, len(JPEG) + 9), status=b"206 X"),
    )
    yield "206 of an unknown whole", answer(b"Content-Range: bytes 0-%d/*" % (len(JPEG) - 1), status=b"206 X")
    yield (
        "206 of half",
        answer(
            b"Content-Range: bytes 0-%d/%d" % (len(JPEG) // 2 - 1, len(JPEG)),
            status=b"206 X",
            body=JPEG[: len(JPEG) // 2],
        ),
    )
    yield "206 with a wrong range", answer(b"Content-Range: nonsense", status=b"206 X")
    yield "200 with a range", answer(b"Content-Range: bytes 0-9/%d" % len(JPEG))
    yield "206 in parts", answer(b"Content-Type: multipart/byteranges; boundary=x", status=b"206 X")
    yield "401 that asks for a password", answer(b'WWW-Authenticate: Basic realm="x"', status=b"401 X")
    yield "407 with a photo", answer(b'Proxy-Authenticate: Basic realm="x"', status=b"407 X")
    yield "503 that names a time", answer(b"Retry-After: 1", status=b"503 X")


def answers() -> Iterator[tuple[str, bytes]]:
    """(name, raw answer) of all these."""
    yield from (*_status_lines(), *_interim(), *_header_lines(), *_types(), *_statuses())
