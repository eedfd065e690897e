"""URLs that Chromium and the fetcher may read differently, by the reason."""

from __future__ import annotations

from tests.differential.agreement import Exceptions

EXCEPTIONS: Exceptions = {
    "Chromium sends no credentials for pictures; listings may hold them, so they are sent": (
        "'http://user@{HERE}/{N}/x'",
        "'http://user:word@{HERE}/{N}/x'",
        "'http://a@b@{HERE}/{N}/x'",
    ),
}

HOSTS: Exceptions = {
    "Port 0 leads nowhere: `bad_url`": ("'photos.example:0'",),
    "A name longer than DNS allows resolves to nothing: `bad_url`": (
        repr("x" * 64 + ".example"),
        repr("x." * 140 + "example"),
    ),
    "No name in DNS has such characters or an empty label, and curl would refuse or misread it: `bad_url`": (
        "'photos.example..'",
        "'photos..example'",
        "'.photos.example'",
        "'a b.example'",
        "'a%20b.example'",
        "'a*b.example'",
        "'a!b.example'",
        "'a+b.example'",
        "'(a).example'",
        "'a,b.example'",
        "'a;b.example'",
        '"a\'b.example"',
        "'a\"b.example'",
        "'a`b.example'",
        "'a{b}.example'",
        "'a~b.example'",
        "'a=b.example'",
        "'a&b.example'",
        "'a$b.example'",
    ),
}
