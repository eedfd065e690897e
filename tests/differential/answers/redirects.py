"""Redirects. ``{HERE}`` stands for this host and port, ``{OTHER}`` for another host, ``{N}`` for the case's number.

What a Location names is answered with a photo; a name that is a number is answered with a redirect to the next lower.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.answers.base import JPEG, answer

_LOCATIONS: tuple[bytes, ...] = (
    b"/to/{N}", b"to", b"./to", b"../to/{N}", b"../../../to/{N}", b"to/", b"?to=1", b"to?a=b&c=d", b"to#part",
    b"/to/{N}/a/../b", b"/to/{N}/./b",
    b"http://{HERE}/to/{N}", b"HTTP://{HERE}/to/{N}", b"http://{OTHER}/to/{N}", b"//{HERE}/to/{N}", b"//{OTHER}/to/{N}",
    b"///{HERE}/to/{N}",
    b"////{HERE}/to/{N}", b"http:/to/{N}", b"http:to", b"http:///{HERE}/to/{N}", b"http:////{HERE}/to/{N}",
    b"http:{HERE}/to/{N}",
    b"\\to\\{N}", b"/to\\{N}\\b", b"\\\\{HERE}\\to\\{N}", b"/\\{HERE}/to/{N}", b"http:\\\\{HERE}\\to\\{N}",
    b"http:/\\{HERE}/to/{N}", b"to?a\\b",
    b"  /to/{N}  ", b"\t/to/{N}\t", b"/to/{N}/a b", b"/to/{N}/a\tb", b"/to/{N}/a\t", b"/to/{N}/a%20b", b"/to/{N}/a%zzb",
    b"/to/{N}/100%", b"/to/{N}/%",
    b"/to/{N}/caf\xe9.jpg", b"/to/{N}/caf\xc3\xa9.jpg", b"/to/{N}?q=caf\xe9", b"/to/{N}?q=caf\xc3\xa9",
    b"/to/{N}/\xff\xfe", b"/to/{N}/\xe5\x86\x99",
    b"/to/{N}/a[1]{2}", b"/to/{N}/a|b^c`d", b'/to/{N}/a"b', b"/to/{N}/a<b>c", b"/to/{N}/a'b", b"/to/{N}?a[1]={2}|^`",
    b'/to/{N}?a"b<c>d\'e',
    b"/to/{N}/a;b=c,d", b"/to/{N}/a+b", b"/to/{N}/%E9", b"/to/{N}/%2e%2e/b", b"/to/{N}/%2E/b", b"/to/{N}/a%2Fb",
    b"/to/{N}/a%5Cb", b"/to/{N}/a\x01b",
    b"/to/{N}/a\x7fb", b"/to/{N}/a//b", b"http://{HERE}?to={N}", b"http://{HERE}#to{N}",
    b"http://user:word@{HERE}/to/{N}",
    b"http://{HERE}/to/{N}#a#b", b"/to/{N}#caf\xe9", b"ftp://{HERE}/to/{N}", b"javascript:alert(1)", b"about:blank",
    b"file:///etc/hosts",
    b"data:image/gif;base64,R0lGODlhAQABAAAAACw=", b"mailto:a@b.example", b"http://", b"http:", b"//", b"http://:80/",
    b"http://[::1/to", b"http://a b/to",
    b"http://{HERE}:0/to", b"http://127.0.0.1:99999/to", b"<http://{HERE}/to/{N}>", b'"http://{HERE}/to/{N}"',
    b"/to/{N}/" + b"x" * 3000,
    b"/to/{N}/" + b"x" * 6000, b"URL=/to/{N}", b"/to/{N}; path=/", b"/to/{N}, /else/{N}", b"{HERE}/to/{N}",
    b"www.nowhere.example/to",
    b"http://127.1:{PORT}/to/{N}", b"http://0x7f.1:{PORT}/to/{N}", b"http://2130706433:{PORT}/to/{N}",
    b"http://127.0.0.1.:{PORT}/to/{N}",
    b"http://127.0.0.1:0{PORT}/to/{N}", b"http://%31%32%37.0.0.1:{PORT}/to/{N}",
    "http://１２７.0.0.1:{PORT}/to/{N}".encode(),
)  # fmt: skip


def _located() -> Iterator[tuple[str, bytes]]:
    for location in _LOCATIONS:
        name = location if len(location) < 80 else location[:20] + b"... of %d" % len(location)
        yield f"Location {name.decode('latin-1')!r}", answer(b"Location: " + location, status=b"302 X", body=b"")


def _forms() -> Iterator[tuple[str, bytes]]:
    for status in (300, 301, 302, 303, 304, 305, 306, 307, 308, 309):
        yield f"{status} with a Location", answer(b"Location: /to/{N}", status=b"%d X" % status, body=b"")
        yield f"{status} with a Location and a photo", answer(b"Location: /to/{N}", status=b"%d X" % status)
        yield f"{status} with an empty Location and a photo", answer(b"Location:", status=b"%d X" % status)
        yield f"{status} with a Location of blanks and a photo", answer(b"Location:   ", status=b"%d X" % status)
        yield f"{status} with an empty Location and nothing", answer(b"Location:", status=b"%d X" % status, body=b"")
    for count in (2, 5, 6, 15, 19, 20, 21, 25):
        yield f"{count} redirects", answer(b"Location: %d" % (count - 1), status=b"302 X", body=b"")
    yield "a redirect to itself", answer(b"Location: first", status=b"302 X", body=b"")
    yield "a redirect to a part of itself", answer(b"Location: #part", status=b"302 X", body=b"")
    yield "two equal Locations", answer(b"Location: /to/{N}", b"Location: /to/{N}", status=b"302 X", body=b"")
    yield "two Locations that differ", answer(b"Location: /to/{N}/a", b"Location: /to/{N}/b", status=b"302 X", body=b"")
    yield "an empty Location and another", answer(b"Location:", b"Location: /to/{N}", status=b"302 X", body=b"")
    yield "a Location and an empty one", answer(b"Location: /to/{N}", b"Location:", status=b"302 X", body=b"")
    yield "a folded Location", answer(b"Location: /to\r\n /{N}", status=b"302 X", body=b"")
    yield "a Location with a NUL", answer(b"Location: /to/{N}\0x", status=b"302 X", body=b"")
    yield "a Location and a body that is cut", answer(b"Location: /to/{N}", status=b"302 X", length=9000)
    yield (
        "a Location and a body of an unknown coding",
        answer(b"Location: /to/{N}", b"Content-Encoding: cow", status=b"302 X"),
    )
    yield (
        "a Location and a body that is no gzip",
        answer(b"Location: /to/{N}", b"Content-Encoding: gzip", status=b"302 X"),
    )
    yield "a Location and a megabyte", answer(b"Location: /to/{N}", status=b"302 X", body=JPEG + bytes(1_000_000))
    yield "a Content-Location", answer(b"Content-Location: /to/{N}")


def answers() -> Iterator[tuple[str, bytes]]:
    """(name, raw answer) of all these."""
    yield from (*_located(), *_forms())
