"""Answers that are odd in their length, their chunks or their codings."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

from tests.differential.answers.base import JPEG, answer, unsized

_SIZE = len(JPEG)
_CHUNKED = b"Transfer-Encoding: chunked"


def _lengths() -> Iterator[tuple[str, bytes]]:
    for name, value in (
        ("with a plus", b"+%d" % _SIZE), ("negative", b"-%d" % _SIZE), ("with zeros", b"000%d" % _SIZE),
        ("in hex", b"0x%x" % _SIZE),
        ("with a unit", b"%d bytes" % _SIZE), ("with a fraction", b"%d.0" % _SIZE), ("with a comma", b"%d," % _SIZE),
        ("with a semicolon", b"%d;x" % _SIZE), ("empty", b""), ("of blanks", b"   "),
        ("amid blanks", b"  %d  " % _SIZE),
        ("amid tabs", b"\t%d\t" % _SIZE), ("of letters", b"many"), ("of 30 digits", b"9" * 30),
        ("of 5,000 digits", b"9" * 5000),
        ("of 2^63", b"%d" % (1 << 63)), ("of 2^64 and some", b"%d" % ((1 << 64) + _SIZE)),
        ("twice the same in one", b"%d, %d" % (_SIZE, _SIZE)),
        ("twice in one, differing", b"%d, %d" % (_SIZE, _SIZE - 9)), ("0", b"0"), ("1", b"1"),
        ("a byte short", b"%d" % (_SIZE - 1)),
        ("2 bytes short", b"%d" % (_SIZE - 2)), ("half", b"%d" % (_SIZE // 2)), ("a byte long", b"%d" % (_SIZE + 1)),
        ("1000 bytes long", b"%d" % (_SIZE + 1000)), ("50 MB long", b"%d" % (_SIZE + 50_000_000)),
    ):  # fmt: skip
        yield f"a length {name}", unsized(b"Content-Length: " + value)
    one = b"Content-Length: %d" % _SIZE
    yield "a length three times the same", unsized(one, one, one)
    yield "a length twice, written differently", unsized(one, b"Content-Length: 0%d" % _SIZE)
    yield "a length twice, the second shorter", unsized(one, b"Content-Length: %d" % (_SIZE - 9))
    yield "a length twice, the first shorter", unsized(b"Content-Length: %d" % (_SIZE - 9), one)
    yield "a length twice, one empty", unsized(one, b"Content-Length:")
    yield "a length in small letters", unsized(one.lower())
    yield "a length with a blank before its colon", unsized(b"Content-Length : %d" % _SIZE)
    yield "no length", unsized()
    yield "no length, the connection to be closed", unsized(b"Connection: close")
    yield "no length, the connection to be kept", unsized(b"Connection: keep-alive")
    yield "a length, the connection to be closed", answer(b"Connection: close")
    yield "no length, HTTP/1.0", unsized().replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    yield "a length, HTTP/1.0, the connection to be kept", answer(b"Connection: keep-alive").replace(b"1.1", b"1.0", 1)
    yield "no length and half a photo", unsized(body=JPEG[: _SIZE // 2])
    yield "an empty body", answer(body=b"")
    yield "an empty body without a length", unsized(body=b"")
    for words, more in (("CRLF", b"\r\n"), ("noise", b"noise"), ("another answer", answer())):
        yield f"{words} behind the body", answer() + more


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + end


_HALVES = (JPEG[:700], JPEG[700:])


def _chunked() -> Iterator[tuple[str, bytes]]:
    whole = chunks(*_HALVES)
    for value in (
        b"chunked", b"Chunked", b"CHUNKED", b" chunked ", b"chunked;x=1", b"chunked, chunked", b"identity, chunked",
        b"chunked, identity",
        b"gzip, chunked", b"xchunked", b"chunked,", b",chunked", b"identity", b"", b"gzip", b"deflate", b"\x0bchunked",
        b'"chunked"', b"cow",
    ):  # fmt: skip
        yield f"Transfer-Encoding {value.decode()!r}, chunks", unsized(b"Transfer-Encoding: " + value, body=whole)
        yield f"Transfer-Encoding {value.decode()!r}, plain", unsized(b"Transfer-Encoding: " + value)
        yield f"Transfer-Encoding {value.decode()!r}, plain with a length", answer(b"Transfer-Encoding: " + value)
    zipped = gzip.compress(JPEG)
    yield "Transfer-Encoding gzip and chunked", unsized(b"Transfer-Encoding: gzip, chunked", body=chunks(zipped))
    yield "Transfer-Encoding gzip alone", unsized(b"Transfer-Encoding: gzip", body=zipped)
    yield "Transfer-Encoding twice", unsized(_CHUNKED, _CHUNKED, body=whole)
    yield "chunks with a blank before the colon", unsized(b"Transfer-Encoding : chunked", body=whole)
    yield "chunks with a length too small", unsized(_CHUNKED, b"Content-Length: 9", body=whole)
    yield "chunks with a length too large", unsized(b"Content-Length: 99999", _CHUNKED, body=whole)
    yield (
        "chunks with two lengths that differ",
        unsized(_CHUNKED, b"Content-Length: 9", b"Content-Length: 8", body=whole),
    )
    yield "chunks in HTTP/1.0", unsized(_CHUNKED, body=whole).replace(b"1.1", b"1.0", 1)
    first, last = _HALVES
    for name, body in (
        ("with extensions", b"%x;a=b;c=d\r\n%b\r\n%x;x\r\n%b\r\n0;y\r\n\r\n" % (len(first), first, len(last), last)),
        ("with a long extension", b"%x;%b\r\n%b\r\n0\r\n\r\n" % (_SIZE, b"x" * 20_000, JPEG)),
        ("with trailers", chunks(*_HALVES, end=b"0\r\nX-A: one\r\nX-B: two\r\n\r\n")),
        ("with a trailer without a colon", chunks(*_HALVES, end=b"0\r\nhello\r\n\r\n")),
        ("with many trailers", chunks(*_HALVES, end=b"0\r\n" + b"X-A: one\r\n" * 5000 + b"\r\n")),
        ("in capital letters", b"%X\r\n%b\r\n0\r\n\r\n" % (_SIZE, JPEG)),
        ("with zeros before their sizes", b"0000%x\r\n%b\r\n000\r\n\r\n" % (_SIZE, JPEG)),
        ("with 20 zeros before their sizes", b"%020x\r\n%b\r\n0\r\n\r\n" % (_SIZE, JPEG)),
        ("with blanks behind their sizes", b"%x  \r\n%b\r\n0 \r\n\r\n" % (_SIZE, JPEG)),
        ("with blanks before their sizes", b" %x\r\n%b\r\n 0\r\n\r\n" % (_SIZE, JPEG)),
        ("with a tab behind their sizes", b"%x\t\r\n%b\r\n0\r\n\r\n" % (_SIZE, JPEG)),
        ("with 0x before their sizes", b"0x%x\r\n%b\r\n0\r\n\r\n" % (_SIZE, JPEG)),
        ("with a negative size", b"-%x\r\n%b\r\n0\r\n\r\n" % (_SIZE, JPEG)),
        ("with a size in letters", b"zz\r\n%b\r\n0\r\n\r\n" % JPEG),
        ("with a size of 20 digits", b"fffffffffffffffffff0\r\n%b\r\n0\r\n\r\n" % JPEG),
        ("with an empty size", b"\r\n%b\r\n0\r\n\r\n" % JPEG),
        ("with lines that end in a line feed", b"%x\n%b\n0\n\n" % (_SIZE, JPEG)),
        ("without the last one", chunks(*_HALVES, end=b"")),
        ("without the last empty line", chunks(*_HALVES, end=b"0\r\n")),
        ("with half the last line", chunks(*_HALVES, end=b"0")),
        ("with a size too small", b"%x\r\n%b\r\n0\r\n\r\n" % (_SIZE - 9, JPEG)),
        ("with a size too large", b"%x\r\n%b\r\n0\r\n\r\n" % (_SIZE + 9, JPEG)),
        ("cut in the second", chunks(*_HALVES)[:-200]),
        ("cut before the second", chunks(first, end=b"")),
        ("followed by noise", chunks(*_HALVES) + b"noise"),
        ("of one byte each", chunks(*[JPEG[n : n + 1] for n in range(_SIZE)])),
        ("of no byte", b"0\r\n\r\n"),
        ("with an empty line first", b"\r\n" + whole),
    ):  # fmt: skip
        yield f"chunks {name}", unsized(_CHUNKED, body=body)


def _deflated(wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(JPEG) + packer.flush()


def _coded(coding: bytes, body: bytes, length: int | None = None) -> bytes:
    return answer(b"Content-Encoding: " + coding, body=body, length=length)


def _codings() -> Iterator[tuple[str, bytes]]:
    zipped, twice = gzip.compress(JPEG), gzip.compress(gzip.compress(JPEG))
    for coding in (
        "gzip", "x-gzip", "GZIP", " gzip ", "gzip,", ",gzip", "gzip;q=1", "gzip, identity", "identity, gzip",
        "gzip gzip", "deflate", "zip",
        "gzip, gzip", "gzip,x-gzip", "deflate, gzip", "gzip, utf-8", "utf-8, gzip", "br", "zstd", "compress",
        "x-deflate", "aws-chunked,gzip",
    ):  # fmt: skip
        yield f"gzip once, called {coding!r}", _coded(coding.encode(), zipped)
        yield f"gzip twice, called {coding!r}", _coded(coding.encode(), twice)
    for coding in (
        "gzip", "x-gzip", "deflate", "br", "zstd", "compress", "identity", "none", "", "base64", "UTF-8", "utf8",
        "aws-chunked", "binary",
        "image/jpeg", "jpeg", "amz-1.0", "7bit", "8bit", "null", "undefined", "x", "\xe9", "gzip, gzip", "base64, gzip",
        "br, gzip",
        "identity, identity", "chunked", "zlib", "pack200-gzip", "exi", "dcb", "dcz", "*",
    ):  # fmt: skip
        yield f"a plain body, called {coding!r}", _coded(coding.encode("latin-1"), JPEG)
    yield "deflate with zlib's head", _coded(b"deflate", zlib.compress(JPEG))
    yield "deflate without a head", _coded(b"deflate", _deflated(-15))
    yield "deflate in gzip's dress", _coded(b"deflate", zipped)
    yield "gzip in deflate's dress", _coded(b"gzip", zlib.compress(JPEG))
    yield "deflate with noise behind it", _coded(b"deflate", zlib.compress(JPEG) + b"noise")
    yield "deflate with a wrong Adler-32", _coded(b"deflate", zlib.compress(JPEG)[:-1] + b"!")
    yield "deflate without its Adler-32", _coded(b"deflate", zlib.compress(JPEG)[:-4])
    for words, more in (
        ("4 zeros", bytes(4)),
        ("noise", b"noise"),
        ("1000 zeros", bytes(1000)),
        ("CRLF", b"\r\n"),
        ("itself", zipped),
    ):
        yield f"gzip with {words} behind it", _coded(b"gzip", zipped + more)
    yield "gzip with the plain length", _coded(b"gzip", zipped, _SIZE)
    yield "gzip with a length of 0", _coded(b"gzip", zipped, 0)
    yield "gzip with a length a byte short", _coded(b"gzip", zipped, len(zipped) - 1)
    yield "gzip with a length 9 bytes long", _coded(b"gzip", zipped, len(zipped) + 9)
    yield "gzip without a length", unsized(b"Content-Encoding: gzip", body=zipped)
    yield "gzip in chunks", unsized(b"Content-Encoding: gzip", _CHUNKED, body=chunks(zipped[:90], zipped[90:]))
    yield "gzip in chunks without the last", unsized(b"Content-Encoding: gzip", _CHUNKED, body=chunks(zipped, end=b""))
    yield "gzip, its header twice", answer(b"Content-Encoding: gzip", b"Content-Encoding: gzip", body=zipped)
    yield "gzip twice, its header twice", answer(b"Content-Encoding: gzip", b"Content-Encoding: gzip", body=twice)
    yield "gzip and another header for none", answer(b"Content-Encoding: gzip", b"Content-Encoding: none", body=zipped)
    for lost in (1, 4, 8, 9, 100, len(zipped) // 2, len(zipped) - 12, len(zipped) - 5):
        yield f"gzip without its last {lost}", _coded(b"gzip", zipped[:-lost])
    yield "gzip with a wrong sum", _coded(b"gzip", zipped[:-8] + b"abcd" + zipped[-4:])
    yield "gzip with a wrong size", _coded(b"gzip", zipped[:-4] + b"abcd")
    yield "gzip with a bit flipped", _coded(b"gzip", zipped[:300] + bytes((zipped[300] ^ 4,)) + zipped[301:])
    yield (
        "gzip with a name in its head",
        _coded(b"gzip", zipped[:3] + b"\x08" + zipped[4:10] + b"photo.jpg\0" + zipped[10:]),
    )
    yield (
        "gzip with all fields in its head",
        _coded(b"gzip", zipped[:3] + b"\x1e" + zipped[4:10] + b"\3\0abcname\0comment\0\0\0" + zipped[10:]),
    )
    yield "gzip of another method", _coded(b"gzip", zipped[:2] + b"\7" + zipped[3:])
    yield "gzip of nothing", _coded(b"gzip", gzip.compress(b""))
    yield "gzip and no byte", _coded(b"gzip", b"")
    yield "gzip in two members", _coded(b"gzip", gzip.compress(_HALVES[0]) + gzip.compress(_HALVES[1]))
    yield "gzip of a page", _coded(b"gzip", gzip.compress(b"<html><p>hello"))
    yield "gzip of 300 MB of zeros", _coded(b"gzip", gzip.compress(bytes(300_000_000), 1))
    layers = JPEG
    for count in range(1, 7):
        layers = gzip.compress(layers)
        if count > 2:
            yield f"gzip {count} times, called so", _coded(b", ".join([b"gzip"] * count), layers)
    yield "deflate in gzip", _coded(b"deflate, gzip", gzip.compress(zlib.compress(JPEG)))
    yield "gzip in deflate", _coded(b"gzip, deflate", zlib.compress(gzip.compress(JPEG)))


def answers() -> Iterator[tuple[str, bytes]]:
    """(name, raw answer) of all these."""
    yield from (*_lengths(), *_chunked(), *_codings())
