"""Days of a country, one after the other: the ETL moves, something breaks, the run runs, and all clocks go on a day.

The day that passes is made by ageing what is there: every instant that ImageSys has written is moved back by a day.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import sqlalchemy as sa

from imagesys_lib.config.intervals import local_day
from imagesys_lib.db.schema import country_metadata, shared_metadata
from imagesys_lib.errors import ImageSysError
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from include.sandbox import ManifestEntry
from include.sandbox.photos.catalogue import Photo, generate
from include.sandbox.settings import WEB_HOSTS
from tests.soak.model import Model
from tests.support.world import COUNTRY, DAY, NODES, World, wait_for

BROKEN = ("missing", "gone", "forbidden", "always_500", "html", "truncated", "svg", "empty")
GOOD = ("ok", "ok", "ok", "ok", "ok", "ok", "flaky", "redirect")
FAULTS = {
    "nothing": 4,
    "a worker is killed": 4,
    "the database restarts": 3,
    "a node is down": 3,
    "the sites are down": 1,
    "a bit flips": 1,
    "files are lost": 1,
    "a stray file": 1,
    "a node is emptied": 1,
}
QUIET_DAYS = 4
"""Days without events at the end: what is listed no more is missed, retained for a day, and waits for half a day."""

CONFIG = {
    "purge": {"retention_days": 1, "grace_hours": 12, "cap_percent": 100, "max_unlisted_percent": 90},
    "retry": {"first_hours": 6, "max_hours": 24, "max_attempts": 12},
    "fetch": {"network_patience": 1},
}
_ETL_TIMES = {"etl_version", "etl_time", "interval_start", "interval_end"}
_PHOTOS = 40
_TRIES = 4


class Soak:
    """``events`` and ``faults`` count what was injected and met its mark, ``missed`` the faults that did not.

    ``reds`` counts the runs that lost work at first.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random, self.model = world, random.Random(seed), Model()
        self.moments = random.Random(seed)  # of its own: how many are needed depends on the machine
        self.events: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.reds = 0
        self.day = DAY
        self.entries: dict[str, ManifestEntry] = {}
        self.taken_off: dict[str, tuple[str, ...]] = {}
        self.down: dict[str, int] = {}  # node: days until it is back
        self._listing_numbers = itertools.count()
        made = generate(_PHOTOS, f"{COUNTRY}-0", world.sandbox.settings.photo_cache).values()
        self.photos = [photo for photo in made if photo.media_type == "image/jpeg"]
        world.reconfigure(**CONFIG)

    def any_faults(self, days: int) -> list[str]:
        """Return what befalls so many days: first nothing, and then each fault at least once, if they are enough."""
        names, weights = zip(*FAULTS.items(), strict=True)
        first, *each = names
        faults = [*each, *self.random.choices(names, weights, k=max(0, days - len(names)))]
        self.random.shuffle(faults)
        return [first, *faults][:days]

    def pass_day(self, fault: str = "nothing", *, quiet: bool = False) -> str:
        """Live through a day with this fault in it; returns what happened."""
        reported = [] if quiet else self._move_etl()
        lost = self._run(fault)
        self.model.run_came_by()
        if lost:
            self.reds += 1
        self._end_day(all_back=quiet)
        return f"{self.day - dt.timedelta(1)}: {', '.join(reported) or 'no news'}; {fault}; {lost or 'a good run'}"

    # The ETL and the sites

    def _move_etl(self) -> list[str]:
        reported = []
        for _ in range(self.random.randint(2, 4)):
            late = self.random.random() < 0.2
            self._put(f"soak-{next(self._listing_numbers):04d}", self._new_urls(), late=late)
            self.events["late row" if late else "listing"] += 1
            reported.append("a late listing" if late else "a listing")
        for name, chance, change in (
            ("correction", 0.5, self._correct),
            ("mending", 0.4, self._mend),
            ("removal", 0.4, self._remove),
            ("return", 0.3, self._bring_back),
        ):
            if self.random.random() < chance and change():
                self.events[name] += 1
                reported.append(name)
        self.world.sandbox.manifest.write(COUNTRY, 0, self.entries.values())
        return reported

    def _moment(self, *, late: bool = False) -> dt.datetime:
        day = self.day - dt.timedelta(days=1) if late else self.day
        return dt.datetime.combine(day, dt.time(self.random.randrange(2, 22), self.random.randrange(60)))

    def _put(self, listing_id: str, urls: tuple[str, ...], *, late: bool = False) -> None:
        self.model.put(listing_id, urls)
        self.world.put(listing_id, *urls, at=self._moment(late=late), datasource=101 + int(listing_id[-1]) % 3)

    def _new_urls(self) -> tuple[str, ...]:
        return tuple(self._new_url() for _ in range(self.random.randint(1, 5)))

    def _new_url(self) -> str:
        number = len(self.entries)
        host, port = WEB_HOSTS[number % len(WEB_HOSTS)], self.world.sandbox.website.port
        url = f"http://{host}:{port}/{COUNTRY}/soak/{number:05d}.jpg"
        kind = self.random.choice(BROKEN if self.random.random() < 0.2 else GOOD)
        self.model.kinds[url] = kind
        self.entries[url] = _entry(url, kind, self.photos[number % len(self.photos)])
        return url

    def _correct(self) -> bool:
        """A listing loses a photo and gets another one."""
        listing_id = self.random.choice(sorted(self.model.listings))
        urls = list(self.model.listings[listing_id])
        urls[self.random.randrange(len(urls))] = self._new_url()
        self._put(listing_id, tuple(urls))
        return True

    def _mend(self) -> bool:
        """The owner of a broken photo puts a good one in its place, and the ETL loads the listing anew."""
        broken = sorted(i for i, urls in self.model.listings.items() if self._broken(urls))
        if not broken:
            return False
        listing_id = self.random.choice(broken)
        for url in self._broken(self.model.listings[listing_id]):
            self.model.kinds[url] = "ok"
            self.entries[url] = _entry(url, "ok", self.photos[len(url) % len(self.photos)])
        self._put(listing_id, self.model.listings[listing_id])
        return True

    def _broken(self, urls: tuple[str, ...]) -> list[str]:
        return [url for url in urls if self.model.kinds[url] in BROKEN]

    def _remove(self) -> bool:
        listing_id = self.random.choice(sorted(self.model.listings))
        self.taken_off[listing_id] = self.model.remove(listing_id)
        self.world.sandbox.etl.remove(COUNTRY, [listing_id])
        return True

    def _bring_back(self) -> bool:
        if not self.taken_off:
            return False
        listing_id = self.random.choice(sorted(self.taken_off))
        self._put(listing_id, self.taken_off.pop(listing_id))
        return True

    # The run and what befalls it

    def _run(self, fault: str) -> str:
        """Run the day as a scheduler does, again while it fails; returns what is lost at the end."""
        run_id = f"scheduled__{self.day}"
        befall: dict[str, Callable[[], bool]] = {
            "a node is down": self._stop_node,
            "the sites are down": self._stop_sites,
            "a bit flips": self._flip_bit,
            "files are lost": self._lose_files,
            "a stray file": self._stray,
            "a node is emptied": self._empty_node,
        }
        strike = {"a worker is killed": self._kill, "the database restarts": self._restart_database}.get(fault)
        if strike is None:
            self._count(fault, hit=befall.get(fault, lambda: True)())
        lost = ""
        for _ in range(_TRIES):
            lost = self._disturbed(run_id, fault, strike) if strike else self._undisturbed(run_id)
            strike = None
            if not lost or fault in ("a node is down", "the sites are down"):
                break
        self.world.sandbox.website.start()
        return lost

    def _undisturbed(self, run_id: str) -> str:
        interval = local_day(self.day, self.world.ctx.config.zone)
        try:
            return "; ".join(self.world.pipeline(Run(run_id, RunKind.SCHEDULED, interval)).lost)
        except ImageSysError as error:
            return str(error)

    def _count(self, fault: str, *, hit: bool) -> None:
        (self.faults if hit else self.missed)[fault] += 1

    def _disturbed(self, run_id: str, fault: str, strike: Callable[[Popen[str]], bool]) -> str:
        """Strike while the day's run is under way: sooner, and in a run once more, where it was over before."""
        delay = self.moments.uniform(0, 5)
        lost = ""
        for moment in (delay, delay / 3, 0.0):
            child = self._spawn(run_id)
            wait_for(lambda child=child: child.poll() is not None or self._has_begun(run_id), "the run's begin", 60)
            with suppress(TimeoutExpired):
                child.wait(moment)
            hit = child.poll() is None and strike(child)
            _, reported = child.communicate(timeout=180)
            lost = (reported.strip().rpartition("\n")[2] or "killed") if child.returncode else ""
            self._count(fault, hit=hit)
            if hit:
                break
        return lost

    def _has_begun(self, run_id: str) -> bool:
        row = runs.load(self.world.ctx.db, run_id)
        return row is not None and row.state == "running"

    @staticmethod
    def _kill(child: Popen[str]) -> bool:
        os.killpg(child.pid, signal.SIGKILL)
        return child.wait(20) == -signal.SIGKILL

    def _restart_database(self, child: Popen[str]) -> bool:
        self.world.sandbox.mariadb.stop()
        at_work = child.poll() is None
        time.sleep(0.5)
        self.world.sandbox.mariadb.start()
        return at_work

    def _spawn(self, run_id: str) -> Popen[str]:
        return self.world.spawn(run_id, self.day.isoformat(), program=(sys.executable, "-m", "tests.soak.one_run"))

    # Nodes

    def _stop_sites(self) -> bool:
        self.world.sandbox.website.stop()
        return True

    def _stop_node(self) -> bool:
        name = self.random.choice(NODES)
        if self.down:  # a quorum stays
            return False
        self.world.sandbox.nodes[name].stop()
        self.down[name] = self.random.randint(1, 2)
        return True

    def _files(self) -> list[Path]:
        """Return the files of a node that has some."""
        on_nodes = [sorted((self.world.root(name) / COUNTRY).rglob("*.jpg")) for name in NODES]
        return self.random.choice([files for files in on_nodes if files] or [[]])

    def _flip_bit(self) -> bool:
        files = self._files()
        for path in files[:1]:
            times = path.stat()
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return bool(files)

    def _lose_files(self) -> bool:
        files = self._files()
        for path in self.random.sample(files, min(3, len(files))):
            path.unlink()
        return bool(files)

    def _stray(self) -> bool:
        folder = self.world.root(self.random.choice(NODES)) / COUNTRY / "0" / "1" / "2"
        folder.mkdir(parents=True, exist_ok=True)
        stray = folder / f"{self.random.getrandbits(148):037x}.1.jpg"
        stray.write_bytes(b"nobody knows")
        os.utime(stray, times=(time.time() - 3 * 86_400,) * 2)
        return True

    def _empty_node(self) -> bool:
        files = self._files()
        if files:
            shutil.rmtree(next(parent for parent in files[0].parents if parent.name == COUNTRY))
        return bool(files)

    # The end of the day

    def _end_day(self, *, all_back: bool) -> None:
        for name in list(self.down):
            self.down[name] -= 1
            if all_back or not self.down[name]:
                self.world.sandbox.nodes[name].start()
                del self.down[name]
        age_by_a_day(self.world)
        self.day += dt.timedelta(days=1)

    def wait_for_leases(self) -> None:
        """Wait until no lease of a killed worker is left."""
        text = "SELECT COUNT(*) FROM lis_batches WHERE lease_until > UTC_TIMESTAMP(6)"
        wait_for(lambda: self.world.scalar(sa.text(text)) == 0, "leases to end")


def age_by_a_day(world: World) -> None:
    """Move every instant that ImageSys has written back by a day."""
    for engine, metadata in ((world.ctx.db, country_metadata), (world.ctx.shared, shared_metadata)):
        world.write_all(engine, [aged for table in metadata.sorted_tables for aged in _aged(table)])
    for path in world.staging.rglob("*"):
        if path.is_file():
            os.utime(path, times=(path.stat().st_mtime - 86_400,) * 2)


def _aged(table: sa.Table) -> list[sa.Update]:
    """Return what moves a table's instants back by a day."""
    columns = [c for c in table.c if isinstance(c.type, sa.DateTime) and c.name not in _ETL_TIMES]
    day_before = {c.name: sa.func.timestampadd(sa.text("DAY"), -1, c) for c in columns}
    return [sa.update(table).values(day_before)] if columns else []


def _entry(url: str, kind: str, photo: Photo) -> ManifestEntry:
    return ManifestEntry(
        url=url,
        kind=kind,
        file=str(photo.file),
        media_type=photo.media_type,
        width=photo.width,
        height=photo.height,
        photo_class=photo.photo_class,
        original=photo.original,
        listing_ids=(),
        datasource_ids=(),
        local_day="",
        marked=True,
    )
