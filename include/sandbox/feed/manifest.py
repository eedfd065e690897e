"""What the web site serves under which URL, and what ImageSys must make of it: the truth that tests compare
with.

One JSON file per country and seed under base/web/manifest; the web site reads them again when `version`
changes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from include.sandbox.settings import SandboxSettings, write_atomically

EXPECTED: dict[str, tuple[str, ...]] = {
    "ok": ("live",),
    "missing": ("http_404",),
    "gone": ("http_410",),
    "forbidden": ("http_403",),
    "flaky": ("live",),
    "always_500": ("http_500",),
    "html": ("not_an_image",),
    "truncated": ("truncated",),
    "slow": ("live",),
    "drip": ("too_slow", "timeout"),
    "svg": ("unsupported_format",),
    "empty": ("not_an_image",),
    "redirect": ("live",),
    "png_as_jpeg": ("live",),
}
"""Kind of URL -> "live", or the reason codes of which one must be given (the first is the likely one)."""

BROKEN_KINDS = tuple(kind for kind in EXPECTED if kind != "ok")
KINDS_WITH_PHOTO = ("ok", "flaky", "truncated", "slow", "drip", "redirect", "png_as_jpeg")


@dataclass(frozen=True)
class ManifestEntry:
    """One URL. `file` is empty, and the size 0, for kinds that serve no photograph; `local_day` is an ISO
    date.

    `datasource_ids` and `listing_ids` are those seeded, in order; later changes of the ETL table do not show
    here. A `marked` one is a JPEG that other URLs show too: a comment in it makes its bytes this URL's own.
    """

    url: str
    kind: str
    file: str
    media_type: str
    width: int
    height: int
    photo_class: str
    original: str
    listing_ids: tuple[str, ...]
    datasource_ids: tuple[int, ...]
    local_day: str
    marked: bool = False

    @property
    def target(self) -> str:
        """Path and query, as an HTTP request line has them."""
        return "/" + self.url.split("/", 3)[3]

    @property
    def host(self) -> str:
        return self.url.split("/", 3)[2].partition(":")[0]

    @property
    def expected(self) -> str:
        """ "live", or the reason code that must end up in the image's row."""
        return EXPECTED[self.kind][0]

    @property
    def expects_live(self) -> bool:
        return self.expected == "live"

    def accepts(self, outcome: str) -> bool:
        """Whether "live" or this reason code is a right outcome (an endless drip may be `too_slow` or
        `timeout`).
        """
        return outcome in EXPECTED[self.kind]


@dataclass(frozen=True)
class Manifest:
    settings: SandboxSettings

    @property
    def directory(self) -> Path:
        return self.settings.web_dir / "manifest"

    def write(self, country: str, seed: int, entries: Iterable[ManifestEntry]) -> None:
        rows = [asdict(entry) | {"expected": entry.expected} for entry in entries]
        write_atomically(self.directory / f"{country}-{seed}.json", json.dumps(rows, indent=0, ensure_ascii=False))
        self._announce()

    def remove(self, country: str, seed: int | None = None) -> None:
        files = list(self.directory.glob(f"{country}-{'*' if seed is None else seed}.json"))
        for file in files:
            file.unlink()
        if files:
            self._announce()

    def entries(self, country: str | None = None, seed: int | None = None) -> dict[str, ManifestEntry]:
        """By URL, all seeds of a country (or of all countries) together."""
        files = sorted(self.directory.glob(f"{country or '*'}-{'*' if seed is None else seed}.json"))
        return {entry.url: entry for file in files for entry in read_entries(file)}

    def _announce(self) -> None:
        # A new inode and a new content each time: a file's time alone has the resolution of the kernel's
        # clock tick.
        write_atomically(self.directory / "version", secrets.token_hex(8))


def read_entries(file: Path) -> list[ManifestEntry]:
    entries = []
    for row in json.loads(file.read_text(encoding="utf-8")):
        del row["expected"]
        row["listing_ids"], row["datasource_ids"] = tuple(row["listing_ids"]), tuple(row["datasource_ids"])
        entries.append(ManifestEntry(**row))
    return entries


def canonical_target(target: str) -> tuple[str, str]:
    """Path and query without percent-encoding: clients spell one URL in several ways (RFC 3986, 6.2.2)."""
    path, _, query = target.partition("?")
    return unquote(path), unquote(query)
