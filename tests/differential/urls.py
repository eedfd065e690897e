"""URLs as listings hold them. Each leads to this host, which shows a photo whatever it is asked for.

``{HERE}`` stands for host and port, ``{PORT}`` for the port, ``{N}`` for the case's number.
"""

from __future__ import annotations

_PATHS = (
    "a.jpg", "a b.jpg", " a.jpg", "a.jpg ", "a\tb.jpg", "a\nb.jpg", "a\r\nb.jpg", "a.jpg\n", "a\u00a0b.jpg",
    "a\u3000b.jpg", "a\u200bb.jpg", "\ufeffa.jpg",
    "a\\b.jpg", "a\\\\b.jpg", "a/../b.jpg", "a/./b.jpg", "a//b.jpg", "a/b/..", "a/b/.", "..", "a/%2e%2e/b.jpg",
    "a/.%2E/b.jpg", "a/%2e/b.jpg", "a/...", "a/..b",
    "a\\..\\b.jpg", "%5C..%5Cb", "100%.jpg", "%zz.jpg", "%2.jpg", "%", "%%", "%25", "%41.jpg", "%e9.jpg", "%E9.jpg",
    "%00.jpg", "%0A.jpg", "%20.jpg", "%u00e9",
    "café.jpg", "写真.jpg", "\U0001f3e0.jpg", "cafe\u0301.jpg", "a[1].jpg", "a{1}.jpg", "a|b.jpg", "a^b.jpg", "a`b.jpg",
    'a"b.jpg', "a'b.jpg", "a<b>.jpg",
    "a;b=c.jpg", "a,b.jpg", "a+b.jpg", "a&b.jpg", "a&amp;b.jpg", "a=b.jpg", "a@b.jpg", "a:b.jpg", "a!b.jpg", "a$b.jpg",
    "a*b.jpg", "a(b).jpg", "a~b.jpg", "a_b-.jpg",
    "a#b", "a#", "#", "a#b#c", "a# b", "a\x01b.jpg", "a\x1fb.jpg", "a\x7fb.jpg", "a\x80b.jpg", "a\x0bb.jpg",
    "a\x0cb.jpg", "\x01", "a\x00b.jpg", "a.jpg\x00", "a.jpg\x1f",
    "?", "??", "?a=b?c", "?a=b&c=d", "?a b", "?a\tb", "?a=é", "?a=写真", "?a=\U0001f3e0", "?a[]=1", "?a={b}", "?a|b",
    "?a^b", "?a`b", '?a"b', "?a'b", "?a<b>", "?a\\b",
    "?a/../b", "?%zz", "?%", "?a=%E9", "?a+b", "?a#b", "?a=b ", "?url=http://x.example/?a=b", "a?b#c?d",
    "a.jpg?x=1;y=2", "a.jpg?w=1&amp;h=2", "a.jpg??", "a\u2028b", "a\u202eb",
    "a\ufffdb", "a\uff0fb", "a\u2215b", "\u00df\u0130\u017f", "a\u00adb", "%C3%A9é", "a%5bb%5d", "a%7Cb", "a%2fb",
    "a%3Fb", "a%23b",
)  # fmt: skip

_HOSTS = (
    "http://{HERE}/{N}/x", "HTTP://{HERE}/{N}/x", "hTtP://{HERE}/{N}/x", "http:\\\\{HERE}\\{N}\\x",
    "http:/\\{HERE}/{N}/x", "http:/{HERE}/{N}/x", "http:{HERE}/{N}/x",
    "http:///{HERE}/{N}/x", "http:////{HERE}/{N}/x", "http:\\{HERE}/{N}/x", "//{HERE}/{N}/x", "\\\\{HERE}\\{N}\\x",
    " http://{HERE}/{N}/x", "\thttp://{HERE}/{N}/x", "\nhttp://{HERE}/{N}/x\n",
    "\x00http://{HERE}/{N}/x", "\x1fhttp://{HERE}/{N}/x\x1f", "\u00a0http://{HERE}/{N}/x", "\ufeffhttp://{HERE}/{N}/x",
    "ht\ntp://{HERE}/{N}/x", "h\tttp://{HERE}/{N}/x", "http://{HERE}\\{N}\\x",
    "http:/\n/{HERE}/{N}/x", "http://127.0\n.0.1:{PORT}/{N}/x", "http://127.1:{PORT}/{N}/x",
    "http://127.0.1:{PORT}/{N}/x", "http://0x7f.0.0.1:{PORT}/{N}/x", "http://0x7f000001:{PORT}/{N}/x",
    "http://2130706433:{PORT}/{N}/x", "http://017700000001:{PORT}/{N}/x", "http://0177.0.0.01:{PORT}/{N}/x",
    "http://127.0.0.1.:{PORT}/{N}/x", "http://127.0.0.1..:{PORT}/{N}/x",
    "http://127.0.0.256:{PORT}/{N}/x", "http://127.0.0.1.1:{PORT}/{N}/x", "http://127.0.0.08:{PORT}/{N}/x",
    "http://127.0.0.0x1:{PORT}/{N}/x", "http://127.0.0.0x:{PORT}/{N}/x",
    "http://%31%32%37.0.0.1:{PORT}/{N}/x", "http://127%2e0.0.1:{PORT}/{N}/x", "http://１２７.0.0.1:{PORT}/{N}/x",
    "http://127。0。0。1:{PORT}/{N}/x", "http://①27.0.0.1:{PORT}/{N}/x",
    "http://127.0.0.1\u00ad:{PORT}/{N}/x", "http://127.0.0.1\u200b:{PORT}/{N}/x",
    "http://[::ffff:127.0.0.1]:{PORT}/{N}/x", "http://[::ffff:7f00:1]:{PORT}/{N}/x", "http://[127.0.0.1]:{PORT}/{N}/x",
    "http://localhost:{PORT}/{N}/x", "http://LOCALHOST:{PORT}/{N}/x", "http://loc%61lhost:{PORT}/{N}/x",
    "http://ｌocalhost:{PORT}/{N}/x",
    "http://{HERE}:/{N}/x", "http://127.0.0.1:0{PORT}/{N}/x", "http://127.0.0.1:00000{PORT}/{N}/x",
    "http://127.0.0.1: {PORT}/{N}/x", "http://127.0.0.1:+{PORT}/{N}/x", "http://127.0.0.1:{PORT}x/{N}/x",
    "http://127.0.0.1:99999/{N}/x", "http://127.0.0.1:{PORT}?{N}", "http://127.0.0.1:{PORT}?#{N}",
    "http://127.0.0.1:{PORT}/?{N}", "http://127.0.0.1:\t{PORT}/{N}/x",
    "http://user@{HERE}/{N}/x", "http://user:word@{HERE}/{N}/x", "http://@{HERE}/{N}/x", "http://:@{HERE}/{N}/x",
    "http://a@b@{HERE}/{N}/x", "http://{HERE}/@{N}/x", "http://us er:w/ord@{HERE}/{N}/x",
    "http://", "http:", "http:///", "ftp://{HERE}/{N}/x", "://{HERE}/{N}/x", "{HERE}/{N}/x", "www.nowhere.invalid/{N}",
    "", " ", "javascript:0", "about:blank", "blob:http://{HERE}/x",
    "view-source:http://{HERE}/{N}/x", "feed:http://{HERE}/{N}/x", "url:http://{HERE}/{N}/x", "<http://{HERE}/{N}/x>",
    '"http://{HERE}/{N}/x"', "(http://{HERE}/{N}/x)", "http://{HERE}/{N}/x,http://{HERE}/y",
    "http;//{HERE}/{N}/x", "http//{HERE}/{N}/x", "http:// {HERE}/{N}/x", "http://{HERE} /{N}/x",
)  # fmt: skip

NAMES = (
    "photos.example", "PHOTOS.Example", "photos.example.", "photos.example..", "photos..example", ".photos.example",
    "a_b.example", "-a.example", "a-.example", "a--b.example",
    "bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "xn--a.example", "xn--.example", "xn--zca.example",
    "faß.example", "ς.example", "\U0001f3e0.example", "写真.example",
    "a b.example", "a<b.example", "a|b.example", "a%b.example", "a%20b.example", "a%2eb.example", "%61.example",
    "a%00b.example", "a*b.example", "a!b.example", "a+b.example",
    "(a).example", "a,b.example", "a;b.example", "a'b.example", 'a"b.example', "a`b.example", "a{b}.example",
    "a~b.example", "a=b.example", "a&b.example", "a$b.example", "a^b.example",
    "a[b.example", "a]b.example", "a\u00adb.example", "a\u200bb.example", "a\u200db.example", "a\u3002b.example",
    "a\uff0eb.example", "\uff41.example", "\u2100.example", "a\tb.example", "a\nb.example",
    "x" * 63 + ".example", "x" * 64 + ".example", "x." * 140 + "example", "1.2.3.4", "1.2.3", "1.2", "1", "0x1.2.3.4",
    "01.2.3.4", "1.2.3.4.", "1.2.3.4.5", "256.1.1.1", "1.2.3.256",
    "1.2.65536", "4294967296", "0x100000000", "08.1.1.1", "0x.1.1.1", "a.1", "a.0x1", "1.a", "a.1.", "1e3", "１.2.3.4",
    "[2001:db8::1]", "[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1%25eth0]",
    "[::1.2.3.4]", "[1::2::3]", "[::g]", "[2001:db8::1", "2001:db8::1", "[]", "[1.2.3.4]", "localhost", "localhost.",
    "a.localhost", "user@photos.example", "user:a%20b@photos.example", "@photos.example",
    "photos.example:80", "photos.example:", "photos.example:0", "photos.example:8080", "photos.example:00443",
    "photos.example:65536", "photos.example:x", "photos.example: 80", "photos.example:8\t0",
)  # fmt: skip
"""Hosts, with or without a port, that are only parsed: nothing is sent to them."""


def urls() -> list[str]:
    """All of them."""
    return [*_HOSTS, *(f"http://{{HERE}}/{{N}}/{path}" for path in _PATHS)]
