"""Whole answers of web servers, good, odd and hostile; each with what Chromium 156 makes of it, and what we do.

``PHOTO`` means that the body is the photo. Where Chromium shows the photo and we do not, ``EXCEPTIONS`` says why.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

from tests.support.images import encoded, quarters

JPEG = encoded(quarters(200, 160), "JPEG")
OK = b"HTTP/1.1 200 OK\r\n"
PHOTO = "photo"
CURL = "curl does not take it, and a second reader of HTTP would have to be as safe as curl"
NOT_ASKED_FOR = "we ask for no coding, and two layers are bounded where a chain is not"
BY_STATUS = "a status has a meaning of its own here: `statuses` of the data source"


@dataclass(frozen=True)
class Case:
    """One answer: what became of it here (``photo`` or a reason), and whether Chromium shows the photo."""

    answer: bytes
    right: str = PHOTO
    chromium: bool = True
    exception: str = ""


def sized(body: bytes = JPEG, length: int | None = None) -> bytes:
    """A Content-Length, the end of the head, and a body."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body) if length is None else length, body)


def coded(coding: str, body: bytes, length: int | None = None) -> bytes:
    return OK + b"Content-Encoding: %b\r\n" % coding.encode() + sized(body, length)


def field(line: bytes) -> bytes:
    """An answer with one more header line."""
    return OK + line + b"\r\n" + sized()


def length(value: bytes) -> bytes:
    """An answer of another Content-Length, ended by closing."""
    return OK + b"Content-Length: %b\r\n\r\n%b" % (value, JPEG)


def status(line: bytes) -> bytes:
    return line + b"\r\n" + sized()


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", size: bytes = b"%x\r\n", head: bytes = OK) -> bytes:
    chunks = b"".join(size % len(piece) + piece + b"\r\n" for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


def nested_bomb(layers: str = "gzip, gzip, gzip, gzip") -> bytes:
    """Some kilobytes that come to gigabytes of empty deflate blocks, which come to no byte at all.

    A piece that ends with a full flush means the same wherever it stands, so each layer is made of few.
    """
    begin = head = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
    piece = b"\0\0\0\xff\xff" * 10_000
    for _ in range(layers.count("gzip") - 1):
        made = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        begin = head + made.compress(begin) + made.flush(zlib.Z_FULL_FLUSH)
        piece = made.compress(piece * 40) + made.flush(zlib.Z_FULL_FLUSH)
    return coded(layers, begin + piece * 20)


def bomb_of_tables() -> bytes:
    """Some kilobytes that come to 30 MB of deflate blocks without data, each with Huffman tables to be built."""
    # A block's kind, how long its tables are, and tables of two symbols, 1 bit each; the second ends the block.
    block = "0 01 00000 00000 0111 000000 100 {} 100 1 1111111 1 1101011 000".format("000" * 14)
    bits = block.replace(" ", "") * 8
    piece = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    return coded("gzip, gzip", gzip.compress(b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + piece * (30_000_000 // len(piece))))


GZ = gzip.compress(JPEG)
HALF = len(GZ) // 2
NO_CODINGS = (
    "base64", "UTF-8", "utf8", "aws-chunked", "binary", "none", "identity", "image/jpeg", "", "7bit", "gzip,",
    "compress", "pack200-gzip", "gzip, identity", "aws-chunked, gzip", "aws-chunked,base64", "lzma", "dcb",
)  # fmt: skip
ODD_LINES = (b"HTTP/1.1 200OK", b"HTTP/1.1 200.1 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200OK OK",
             b"HTTP/1.1 2000 OK", b"http/1.1 200 OK", b"HTTP/1.1 200 \xe9", b"HTTP/1.1 200 " + b"y" * 9000)  # fmt: skip
REFUSED_LINES = (
    b"\r\nHTTP/1.1 200 OK", b"\r\n\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK", b"abcdHTTP/1.1 200 OK", b" HTTP/1.1 200",
    b"HTTP/1.1", b"HTTP/1.1 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 0200 OK", b"HTTP/1.1 000 OK", b"HTTP/1.1 -200 OK",
    b"HTTP/1.1 +200 OK", "HTTP/1.1 ２００ OK".encode(), b"HTTP/1.1  200  OK", b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK",
    b"HTTP/2 200 OK", b"HTTP 200 OK", b"HTTP/1.1 200 OK\r", b"HTTP/1.1 1000 OK",
    b"HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 200 OK", b"HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK",
)  # fmt: skip
REFUSED_FIELDS = (b"no colon", b" folded at once", b"X: a\rb", b"Transfer-Encoding: foo",
                  b"X: " + b"y" * 200_000, b"X: y\r\n" * 6000 + b"X: y")  # fmt: skip
REFUSED_LENGTHS = (b"abc", b"-5", b"", b"+%d" % len(JPEG), b"%d.0" % len(JPEG), b"%d bytes" % len(JPEG), b"0x1")

CASES: dict[str, Case] = {
    # The status line
    **{f"line {line[:40]!r}": Case(status(line)) for line in ODD_LINES},
    **{f"line {line[:60]!r}": Case(status(line), "protocol", exception=CURL) for line in REFUSED_LINES},
    "status of 60 digits": Case(b"HTTP/1.1 " + b"5" * 60 + b" X\r\n\r\n", "http_555", chromium=False),
    "status of 5,000 digits": Case(status(b"HTTP/1.1 " + b"4" * 5000), "http_444", exception=BY_STATUS),
    "an empty line and no more": Case(b"\r\n", "protocol", chromium=False),
    "no status line": Case(JPEG, "protocol", chromium=False),
    "five letters before the status": Case(status(b"abcdeHTTP/1.1 200 OK"), "protocol", chromium=False),
    "another protocol": Case(status(b"ICY 200 OK"), "protocol", chromium=False),
    "NUL in the status line": Case(status(b"HTTP/1.1 200 O\0K"), "protocol", chromium=False),
    "100 and no more": Case(status(b"HTTP/1.1 100 Continue"), "protocol", chromium=False),
    # Interim answers
    "100 first": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + sized()),
    "100 with a length": Case(b"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n" + OK + sized()),
    "103 first": Case(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK + sized()),
    "100 fifty times": Case(b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + OK + sized()),
    # Content-Encoding
    **{f"coding {name!r} of a plain photo": Case(coded(name, JPEG)) for name in NO_CODINGS},
    **{
        f"coding {name!r} of a plain photo": Case(coded(name, JPEG), "protocol", chromium=False)
        for name in ("gzip", "x-gzip", "deflate", "br", "zstd")
    },
    **{f"coding {name!r}": Case(coded(name, GZ)) for name in ("gzip", "x-gzip", "GZIP", " gzip ")},
    "deflate of zlib": Case(coded("deflate", zlib.compress(JPEG))),
    "deflate without a header": Case(coded("deflate", raw_deflate(JPEG))),
    "gzip in gzip": Case(coded("gzip, gzip", gzip.compress(GZ))),
    "gzip in gzip by two fields": Case(
        OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n" + sized(gzip.compress(GZ))
    ),
    "deflate in gzip": Case(coded("deflate, gzip", gzip.compress(zlib.compress(JPEG)))),
    "deflate and gzip in the wrong order": Case(
        coded("gzip, deflate", gzip.compress(zlib.compress(JPEG))), "protocol", chromium=False
    ),
    "three layers of gzip": Case(
        coded("gzip, gzip, gzip", gzip.compress(gzip.compress(GZ))), "protocol", exception=NOT_ASKED_FOR
    ),
    "four layers of gzip": Case(nested_bomb(), "protocol", chromium=False),
    "two layers of empty blocks": Case(nested_bomb("gzip, gzip"), "too_large", chromium=False),
    "gzip and four zero bytes": Case(coded("gzip", GZ + bytes(4))),
    "gzip and words behind it": Case(coded("gzip", GZ + b"junk" * 20)),
    "gzip without its trailer": Case(coded("gzip", GZ[:-8])),
    "gzip with a wrong checksum": Case(coded("gzip", GZ[:-8] + bytes(8))),
    "gzip with a file's name": Case(coded("gzip", b"\x1f\x8b\x08\x08\0\0\0\0\0\3a.jpg\0" + GZ[10:])),
    "gzip with every field": Case(coded("gzip", b"\x1f\x8b\x08\x1e\0\0\0\0\0\3\2\0abn\0c\0\1\2" + GZ[10:])),
    "gzip of an endless name": Case(
        coded("gzip", b"\x1f\x8b\x08\x08\0\0\0\0\0\3" + b"a" * 70_000), "protocol", chromium=False
    ),
    "gzip with the plain length": Case(coded("gzip", GZ, len(JPEG))),
    "gzip with a length that is nobody's": Case(coded("gzip", GZ, len(GZ) + 500), "truncated", chromium=False),
    "gzip with a length too short": Case(coded("gzip", GZ, len(GZ) - 8)),
    "gzip in chunks": Case(chunked(GZ[:100], GZ[100:], head=OK + b"Content-Encoding: gzip\r\n")),
    "gzip of nothing": Case(coded("gzip", b""), "not_an_image", chromium=False),
    "gzip that is its header": Case(coded("gzip", GZ[:10]), "not_an_image", chromium=False),
    "gzip that is damaged": Case(coded("gzip", GZ[:10] + b"\xff" * 20 + GZ[30:]), "protocol", chromium=False),
    # Lengths
    "two equal lengths": Case(field(b"Content-Length: %d" % len(JPEG))),
    "a list of equal lengths": Case(length(b"%d, %d" % (len(JPEG), len(JPEG)))),
    "two lengths that differ": Case(field(b"Content-Length: 5"), "protocol", chromium=False),
    "a list of lengths that differ": Case(length(b"%d, 5" % len(JPEG)), "protocol", chromium=False),
    **{f"length {value!r}": Case(length(value), "protocol", exception=CURL) for value in REFUSED_LENGTHS},
    "length of 23 digits": Case(length(b"9" * 23), "too_large", exception="it announces more than we take"),
    "a length too long": Case(OK + sized(length=len(JPEG) + 100), "truncated", chromium=False),
    "no length": Case(OK + b"\r\n" + JPEG),
    # Header lines
    "a thousand header lines": Case(field(b"X: y\r\n" * 999 + b"X: y")),
    **{f"field {line[:20]!r}, {len(line)}": Case(field(line), "protocol", exception=CURL) for line in REFUSED_FIELDS},
    "300 KB of header lines": Case(field((b"X: " + b"y" * 60_000 + b"\r\n") * 5 + b"X: y"), "protocol", chromium=False),
    "NUL in a value": Case(field(b"X: a\0b"), "protocol", chromium=False),
    "NUL in a name": Case(field(b"X\0: a"), "protocol", chromium=False),
    "a name that is not ASCII": Case(field("Xé: a".encode())),
    "a name that is no UTF-8": Case(field(b"X\xff: a")),
    "a colon first": Case(field(b": a")),
    "blanks before the colon": Case(field(b"X : a")),
    "a folded line": Case(field(b"X: a\r\n b")),
    "lines that end with LF": Case(OK.replace(b"\r", b"") + b"Content-Length: %d\n\n%b" % (len(JPEG), JPEG)),
    "a type that is not the photo's": Case(field(b"Content-Type: text/html")),
    "a download": Case(field(b"Content-Disposition: attachment")),
    # Transfer-Encoding
    "chunks": Case(chunked(JPEG[:7], JPEG[7:])),
    "chunks with an extension": Case(chunked(JPEG, size=b"%x;a=b\r\n")),
    "chunks and a length": Case(chunked(JPEG, head=OK + b"Content-Length: 17\r\n")),
    "chunks named twice": Case(chunked(JPEG, head=OK + b"Transfer-Encoding: chunked\r\n")),
    "chunks without an end": Case(chunked(JPEG, end=b""), "truncated", chromium=False),
    "chunks that are none": Case(chunked(JPEG, size=b"zz%x\r\n"), "protocol", chromium=False),
    "a coding of the transfer": Case(chunked(GZ, head=OK + b"Transfer-Encoding: gzip\r\n"), "protocol", chromium=False),
    "a coding of words that are no text": Case(field(b"Transfer-Encoding: a\xe9b"), "protocol", exception=CURL),
    # Statuses
    **{f"status {number}": Case(status(b"HTTP/1.1 %d X" % number)) for number in (201, 203, 206, 226, 299)},
    **{f"status {number}": Case(status(b"HTTP/1.1 %d X" % number)) for number in (300, 301, 302, 303, 305, 307, 399)},
    **{
        f"status {number} to an empty place": Case(status(b"HTTP/1.1 %d X\r\nLocation: " % number))
        for number in (301, 302, 303, 307, 308)
    },
    "status 304": Case(status(b"HTTP/1.1 304 X"), "protocol", chromium=False),
    "status 204": Case(status(b"HTTP/1.1 204 X"), "not_an_image", chromium=False),
    "a page of status 300": Case(b"HTTP/1.1 300 X\r\n" + sized(b"<html>"), "http_300", chromium=False),
    "nothing of status 302": Case(b"HTTP/1.1 302 X\r\n" + sized(b""), "http_302", chromium=False),
    **{
        f"status {number} of a photo": Case(status(b"HTTP/1.1 %d X" % number), f"http_{number}", exception=BY_STATUS)
        for number in (400, 404, 410, 500, 503, 600, 999)
    },
}
