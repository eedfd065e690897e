"""The photographs that everything is made from: real ones, under free licences, out of Debian packages.

They are downloaded and unpacked into the cache, never installed. `PHOTOS.md` beside this file, and SOURCES in
the cache, credit their authors; both are rendered from the table below.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from include.sandbox.errors import SandboxError
from include.sandbox.services.mariadb import find_program
from include.sandbox.services.process import file_lock
from include.sandbox.settings import write_atomically

MINIMUM = 12
"""With fewer different originals the photos would look alike; a mirror may lack one of the packages."""

_RETRY_SECONDS = 86_400

_MATE = ("mate-backgrounds", "usr/share/backgrounds/mate/nature")
_LOMIRI = ("lomiri-wallpapers-16.04", "usr/share/backgrounds")


@dataclass(frozen=True)
class Original:
    """One photograph; author and licence as in the package's debian/copyright."""

    package: str
    path: str
    width: int
    height: int
    author: str
    licence: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def file(self, cache: Path) -> Path:
        return cache / "packages" / self.package / self.path


def _original(  # noqa: PLR0917 (one row of the table below)
    source: tuple[str, str], name: str, width: int, height: int, author: str, licence: str
) -> Original:
    return Original(source[0], f"{source[1]}/{name}", width, height, author, licence)


ORIGINALS = (
    _original(_MATE, "Aqua.jpg", 2560, 1600, "Charles Barbin, 2008", "GPL-2+"),
    _original(_MATE, "Blinds.jpg", 1920, 1200, "Lennart Poettering, Andrea Cimitan, 2008", "GPL-2+"),
    _original(_MATE, "Dune.jpg", 1680, 1050, "Marco Cogoni, 2007; Hylke Bons, 2008", "GPL-2+"),
    _original(_MATE, "FreshFlower.jpg", 1600, 1203, "Jens Ansorg, 2005", "GPL-2+"),
    _original(_MATE, "Garden.jpg", 2560, 1600, "Charles Barbin, 2008", "GPL-2+"),
    _original(_MATE, "GreenMeadow.jpg", 1280, 1024, "Timothy Schellhase, 2005; Lapo Calamandrei, 2008", "GPL-2+"),
    _original(_MATE, "LadyBird.jpg", 2560, 1600, "Charles Barbin, 2008", "GPL-2+"),
    _original(_MATE, "RainDrops.jpg", 1920, 1200, "blackcombwhistler07, 2008", "GPL-2+"),
    _original(_MATE, "Storm.jpg", 1920, 1280, "Sergey Nazarov, 2008", "GPL-2+"),
    _original(_MATE, "TwoWings.jpg", 2560, 1600, "Charles Barbin, Hylke Bons, 2008", "GPL-2+"),
    _original(_MATE, "Wood.jpg", 2560, 1920, "Jean-François Fortin Tam, 2008", "GPL-2+"),
    _original(_MATE, "YellowFlower.jpg", 2560, 1600, "Charles Barbin, 2008", "GPL-2+"),
    _original(_LOMIRI, "Bridge_by_Sander_Klootwijk.jpg", 4352, 2448, "Sander Klootwijk, 2018", "CC-BY-SA-4.0"),
    _original(_LOMIRI, "Dragonfly_by_Bolly.jpg", 4224, 3168, "Bolly, 2018", "CC-BY-SA-4.0"),
    _original(_LOMIRI, "Picture_0B_by_freespace.jpg", 2572, 1740, 'Trevor "Freespace", 2018', "CC-BY-4.0"),
    _original(_LOMIRI, "Wine_by_Jakkub_Mede.jpg", 2560, 3837, "Jakub Mede, 2018", "CC-BY-4.0"),
    _original(_LOMIRI, "aitzgorri_by_Aitzol_Berasategi.jpg", 3088, 2056, "Aitzol Berasategi, 2018", "CC-BY-4.0"),
    _original(_LOMIRI, "friends_by_Aitzol_Berasategi.jpg", 2056, 3088, "Aitzol Berasategi, 2018", "CC-BY-4.0"),
    _original(_LOMIRI, "greentock_by_Peter_Nerlich.jpg", 2880, 2160, "Peter Nerlich, 2018", "CC-BY-SA-4.0"),
    _original(_LOMIRI, "life_by_Aitzol_Berasategi.jpg", 3088, 2056, "Aitzol Berasategi, 2018", "CC-BY-4.0"),
    _original(_LOMIRI, "picosdeeuropa_by_Aitzol_Berasategi.jpg", 3264, 2448, "Aitzol Berasategi, 2018", "CC-BY-4.0"),
    _original(_LOMIRI, "seeding_by_Clements_Engelhardt.jpg", 5312, 2988, "Clemens Engelhardt, 2018", "CC0-1.0"),
    _original(_LOMIRI, "sunset_by_Aitzol_Berasategi.jpg", 4272, 2848, "Aitzol Berasategi, 2018", "CC-BY-4.0"),
)


def fetch_originals(cache: Path) -> tuple[Original, ...]:
    """The originals that the cache holds, after fetching the packages that it lacks; nothing is fetched
    twice.
    """
    packages = dict.fromkeys(original.package for original in ORIGINALS)
    problems = [problem for package in packages if (problem := _try_package(package, cache))]
    available = tuple(original for original in ORIGINALS if original.file(cache).is_file())
    if len(available) < MINIMUM:
        raise SandboxError(
            f"only {len(available)} of {len(ORIGINALS)} original photographs are in {cache}, "
            f"{MINIMUM} are needed. {' '.join(problems)} "
            "Check the network and the package lists (apt-get update), then start again."
        )
    return available


def render_sources(originals: tuple[Original, ...] = ORIGINALS) -> str:
    """The table of credits, as Markdown."""
    lines = [
        "# Photographs of the sandbox",
        "",
        "The sandbox downloads these photographs from Debian's archive at first use; none is kept in this",
        "repository. What it serves is made from them (cropped, scaled, mirrored, toned, re-encoded) and stays",
        "on the machine. Author and licence are those of each package's `debian/copyright`.",
        "",
        "| photograph | author | licence | package |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {one.name} | {one.author} | {one.licence} | {one.package} |" for one in originals]
    return "\n".join(lines) + "\n"


def _try_package(package: str, cache: Path) -> str:
    """Empty, or why this package could not be had; then it is not asked for again before a day has passed."""
    failure = cache / "packages" / f".{package}.failed"
    if failure.exists() and time.time() - failure.stat().st_mtime < _RETRY_SECONDS and _enough(cache):
        return ""
    try:
        _fetch_package(package, cache)
    except SandboxError as error:
        write_atomically(failure, str(error))
        return str(error)
    return ""


def _enough(cache: Path) -> bool:
    return sum(original.file(cache).is_file() for original in ORIGINALS) >= MINIMUM


def _fetch_package(package: str, cache: Path) -> None:
    target = cache / "packages" / package
    if target.is_dir():
        return
    with file_lock(cache / "packages.lock"):
        if target.is_dir():
            return
        draft = cache / "packages" / f".{package}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            archive = _download(package, draft)
            _run([find_program("dpkg-deb"), "-x", str(archive), str(draft / "root")], draft)
            (draft / "root").rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        write_atomically(
            cache / "SOURCES.md", render_sources(tuple(one for one in ORIGINALS if one.file(cache).is_file()))
        )


def _download(package: str, directory: Path) -> Path:
    """apt verifies the archive's signature and checksum, which a plain download would not."""
    command = [find_program("apt-get"), "-q", "-o", "APT::Sandbox::User=root", "download", package]
    try:
        _run(command, directory)
    except SandboxError:
        if os.getuid() != 0:
            raise
        _run(
            [find_program("apt-get"), "-q", "update"], directory
        )  # a fresh machine has no package lists, or stale ones
        _run(command, directory)
    return next(directory.glob("*.deb"))


def _run(command: list[str], directory: Path) -> None:
    try:
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"{' '.join(command)} took over 10 minutes.") from error
    if result.returncode != 0:
        raise SandboxError(f"{' '.join(command)} failed: {(result.stderr or result.stdout).strip()[-500:]}.")
