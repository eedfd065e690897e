"""The gate of a download task: asked before every request, it keeps the promises made to each host for all workers."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import TracebackType
from urllib.parse import urlsplit

from sqlalchemy import Engine

from imagesys_lib.breaker import Position, Standing, is_hosts_fault
from imagesys_lib.config import Fetch, HostLimits
from imagesys_lib.fetch import Admission, is_refused
from imagesys_lib.hosts import store
from imagesys_lib.hosts.places import Places
from imagesys_lib.outage import SILENCE, Network
from imagesys_lib.reasons import ImageFault

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds of a pause that a batch waits out; for a longer one its images go back as unattempted."""

_REFERENCES = 3  # hosts of each kind that may show that our own network is up
_REFRESH = 1.0  # seconds between looks at what other workers learned
_ASK_AGAIN = 0.25  # seconds until a host whose places are all taken is asked again
_IDLE = 2.0  # seconds after which places without work are given back

GO = Admission(go=True)


@dataclass
class _Host:
    limits: HostLimits
    standing: Standing = field(default_factory=Standing)
    read_at: float = 0.0  # when the standing was true (monotonic)
    busy: int = 0
    failures: int = 0  # in a row, not yet written
    reason: str = ""  # of the last of them
    used_at: float = 0.0
    owed: int = 0  # places to hand on to a worker that waits
    shy_until: float = 0.0  # no further place is taken before this
    turn_at: float | None = None

    def standing_at(self, now: float) -> Standing:
        return replace(self.standing, wait=self.standing.wait - (now - self.read_at))

    def stands(self, standing: Standing) -> None:
        self.standing, self.read_at = standing, time.monotonic()


class SharedGate:
    """Admits requests by places, pauses, breakers and rates that hold over all workers. Used by one thread.

    Use it in a ``with`` block.
    What is known of a host is read anew with each place taken there, and at each refresh, a second apart, while places
    are held: so long a pause that another worker was told of may go unheard. A worker that does not call
    :meth:`refresh` for ``silence`` seconds loses its places.
    """

    def __init__(self, shared: Engine, settings: Fetch, silence: int = 60, stop: threading.Event | None = None) -> None:
        self._shared, self._settings, self._stop = shared, settings, stop
        self._places = Places(shared, silence)
        self._hosts: dict[str, _Host] = {}
        self._answered_hosts: set[str] = set()
        self._refreshed = 0.0
        self.network = Network(self._references, self._is_refused)

    def __enter__(self) -> SharedGate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.close()

    def prepare(self, hosts: Iterable[str]) -> None:
        """Learn of many hosts at once, ahead of their first request."""
        self._learn(host for host in hosts if host not in self._hosts)

    def admit(self, host: str) -> Admission:
        """Take a place at ``host``, or say when to ask again; ``give_up`` where that is beyond patience."""
        if host not in self._hosts:
            self._learn([host])
        self.refresh()
        known, now = self._hosts[host], time.monotonic()
        while True:
            standing = known.standing_at(now)
            if standing.wait > 0:
                if not known.busy:
                    self._places.forget(host)
                return Admission(go=False, wait=standing.wait, give_up=standing.wait > PATIENCE)
            if self._has_place(host, known, standing):
                break
            if not self._take_place(host, known, standing, now):
                return Admission(go=False, wait=_ASK_AGAIN * random.uniform(0.5, 1.5))
            self._learn([host])  # whoever gave the place may have been told to leave the host alone just before
            now = time.monotonic()
        if known.limits.rate is not None and (wait := self._turn(host, known, now)) > 0:
            return Admission(go=False, wait=wait)
        known.busy += 1
        known.used_at = now
        return GO

    def left(self, host: str, fault: ImageFault | None) -> None:
        """Learn from how a request ended, then free its place: whoever takes that is to know what was learned."""
        known = self._hosts[host]
        try:
            self._note(host, known, fault)
        finally:
            self.abandoned(host)
        if known.standing_at(time.monotonic()).wait > 0:
            self._give_spare(host, known)

    def _note(self, host: str, known: _Host, fault: ImageFault | None) -> None:
        self.network.tell(host, fault)
        if fault is not None and fault.reason.code == "blocked_address":
            return  # nobody was asked: that says nothing of the host, nor that it can be reached
        if fault is not None and fault.retry_after:
            store.pause(self._shared, host, fault.retry_after, fault.reason.code)
            standing = known.standing_at(time.monotonic())
            known.stands(replace(standing, failures=0, wait=max(standing.wait, fault.retry_after)))
            log.info("%s asks to be left alone for %.0f s (%s)", host, fault.retry_after, fault.reason.code)
        elif fault is not None and is_hosts_fault(fault):
            self._failed(host, known, fault.reason.code)
        else:
            self._answered(host, known)

    def abandoned(self, host: str) -> None:
        """Free the place of a request that this worker cut short."""
        known = self._hosts[host]
        known.busy -= 1
        known.used_at = time.monotonic()
        if known.owed:
            known.owed -= 1
            self._places.give(host)

    def _failed(self, host: str, known: _Host, reason: str) -> None:
        known.failures += 1
        known.reason = reason
        probing = known.standing.trips > 0
        if not probing and known.failures + known.standing.failures < self._settings.breaker.failures:
            return
        if reason in SILENCE and not self.network.works():
            return  # written, or forgiven, when it is known whose fault it is
        before = known.standing.trips
        standing = self._note_failures(host, known)
        if standing.trips > before:
            log.warning("%s fails (%s): it is left alone for %.0f s", host, reason, standing.wait)

    def _note_failures(self, host: str, known: _Host) -> Standing:
        standing = store.note_failures(self._shared, host, known.failures, known.reason, self._settings.breaker)
        known.failures = 0
        known.stands(standing)
        return standing

    def _answered(self, host: str, known: _Host) -> None:
        known.failures = 0
        self._answered_hosts.add(host)
        if known.standing.trips:
            log.info("%s answers again: its breaker is closed", host)
        if known.standing.trips or known.standing.failures:
            store.note_success(self._shared, [host])
            known.stands(Standing(wait=known.standing_at(time.monotonic()).wait))

    def _is_refused(self, address: str) -> bool:
        settings = self._settings
        return settings.proxy is None and is_refused(address, settings.allowed_addresses, settings.denied_addresses)

    def _references(self, names: bool) -> list[str]:
        """Return hosts that answered lately, for their names some of the batch too; with a proxy, that alone."""
        if self._settings.proxy:
            return [urlsplit(self._settings.proxy).netloc.rpartition("@")[2]]
        lately = [*list(self._answered_hosts)[:_REFERENCES], *store.answered_lately(self._shared, _REFERENCES)]
        return lately + (random.sample(sorted(self._hosts), min(len(self._hosts), 2 * _REFERENCES)) if names else [])

    def forgive(self) -> None:
        """Forget failures in a row that were our own network's."""
        for known in self._hosts.values():
            known.failures = 0
        self.network.forget()

    def write_back(self) -> None:
        """Write which hosts answered, and failures in a row, on which the next batch counts on."""
        store.note_answers(self._shared, self._answered_hosts)
        for host, known in self._hosts.items():
            if known.failures:
                self._note_failures(host, known)

    def _has_place(self, host: str, known: _Host, standing: Standing) -> bool:
        """Say whether a place held is free; after a lost connection there are fewer places than requests."""
        if standing.position is Position.HALF_OPEN:
            return not known.busy and self._places.holds_first(host)
        return self._places.held(host) > known.busy

    def _take_place(self, host: str, known: _Host, standing: Standing, now: float) -> bool:
        if standing.position is Position.HALF_OPEN:
            return not known.busy and self._places.take(host, 1)
        most = known.limits.per_host
        return self._places.held(host) < most and now >= known.shy_until and self._places.take(host, most)

    def _turn(self, host: str, known: _Host, now: float) -> float:
        """Return the seconds until this host's reserved turn; a turn that has come is used up."""
        if known.turn_at is None:
            known.turn_at = now + store.turn(self._shared, host, known.limits.rate or 1.0)
        wait = known.turn_at - now
        if wait <= 0:
            known.turn_at = None
        return wait

    def refresh(self) -> None:
        """Once a second: hear of pauses from other workers, hand places to those that wait, drop idle ones."""
        now = time.monotonic()
        if now - self._refreshed < _REFRESH:
            return
        self._refreshed = now
        self._places.keep()
        recent = [host for host, known in self._hosts.items() if known.busy or now - known.used_at < 2 * _REFRESH]
        self._learn(recent)
        for host, known in self._hosts.items():
            if not known.busy and self._places.held(host) and now - known.used_at > _IDLE:
                self._places.forget(host)
        for host in self._places.awaited([host for host in recent if self._places.held(host)]):
            known = self._hosts[host]
            known.shy_until = now + _REFRESH * random.uniform(0.5, 1.5)
            known.owed = min((self._places.held(host) + 1) // 2, known.busy)
            self._give_spare(host, known)

    def _give_spare(self, host: str, known: _Host) -> None:
        """Give back the places without a request."""
        self._places.give(host, max(0, self._places.held(host) - known.busy))

    def _learn(self, hosts: Iterable[str]) -> None:
        names = list(hosts)
        found = store.standings(self._shared, names) if names else {}
        for name in names:
            known = self._hosts.setdefault(name, _Host(self._settings.limits(name)))
            known.stands(found.get(name, Standing()))
