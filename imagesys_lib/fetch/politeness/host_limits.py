"""The limiter of a download task: asked before every request, it keeps the limits of each host over all workers."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlalchemy import Engine

from imagesys_lib.config import Fetch, HostLimits
from imagesys_lib.fetch.addresses import is_refused
from imagesys_lib.fetch.politeness import host_records
from imagesys_lib.fetch.politeness.admission import Admission
from imagesys_lib.fetch.politeness.circuit_breaker import Circuit, Position, host_rule, is_hosts_fault
from imagesys_lib.fetch.politeness.outage import SILENCE, Network
from imagesys_lib.fetch.politeness.slots import Slots
from imagesys_lib.images.reasons import ImageFault

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds of a pause that a batch waits out; for a longer one its images go back as unattempted."""

_REFERENCES = 3  # hosts of each kind that may show that our own network is up
_REFRESH = 1.0  # seconds between queries for what other workers learned
_ASK_AGAIN = 0.25  # seconds until a host whose slots are all taken is asked again

GO = Admission(go=True)


@dataclass
class _Host:
    limits: HostLimits
    most: int  # requests that may be under way here now: fewer while another worker waits for a slot
    circuit: Circuit = field(default_factory=Circuit)
    read_at: float = 0.0  # when the circuit was so (monotonic)
    busy: int = 0
    failures: int = 0  # in a row, not yet written
    reason: str = ""  # of the last of them
    turn_at: float | None = None

    def now(self) -> Circuit:
        return self.circuit.later(time.monotonic() - self.read_at)

    def learn(self, circuit: Circuit) -> None:
        self.circuit, self.read_at = circuit, time.monotonic()


class SharedLimiter:
    """Admits requests by slots, pauses, circuit breakers and rates that hold over all workers. Used by one thread.

    Use it in a ``with`` block.
    What is known of a host is read anew with each slot taken there, and at each refresh, a second apart: so long a
    pause that another worker was asked for may go unnoticed. A worker that does not call :meth:`refresh` for
    ``silence`` seconds loses its slots.
    """

    def __init__(self, shared: Engine, settings: Fetch, silence: int = 60, stop: threading.Event | None = None) -> None:
        self._shared, self._settings, self._stop = shared, settings, stop
        self._rule = host_rule(settings.breaker)
        self._slots = Slots(shared, silence)
        self._hosts: dict[str, _Host] = {}
        self._answered_hosts: set[str] = set()
        self._refreshed = 0.0
        self.network = Network(self._references, self._is_refused)

    def __enter__(self) -> SharedLimiter:
        return self

    def __exit__(self, *_: object) -> None:
        self._slots.close()

    def prepare(self, hosts: Iterable[str]) -> None:
        """Learn of many hosts at once, before their first request, or anew."""
        names = list(hosts)
        found = host_records.circuits(self._shared, names)
        for name in names:
            if name not in self._hosts:
                limits = self._settings.limits(name)
                self._hosts[name] = _Host(limits, limits.per_host)
            self._hosts[name].learn(found.get(name, Circuit()))

    def admit(self, host: str) -> Admission:
        """Take a slot at ``host``, or say when to ask again; ``give_up`` where that is beyond patience."""
        if host not in self._hosts:
            self.prepare([host])
        self.refresh()
        known = self._hosts[host]
        while True:
            circuit = known.now()
            if circuit.wait > 0:
                self._slots.keep(host, known.busy)
                return Admission(go=False, wait=circuit.wait, give_up=circuit.wait > PATIENCE)
            limit = 1 if circuit.position is Position.HALF_OPEN else known.limits.per_host
            held = self._slots.held(host, limit)
            if held > known.busy:
                break
            if held >= min(limit, known.most) or not self._slots.take(host, limit):
                return Admission(go=False, wait=_ASK_AGAIN * random.uniform(0.5, 1.5))
            self.prepare([host])  # whoever had the slot may have been asked to leave the host alone just before
        if known.limits.rate is not None and (wait := self._turn(host, known)) > 0:
            return Admission(go=False, wait=wait)
        known.busy += 1
        return GO

    def left(self, host: str, fault: ImageFault | None) -> None:
        """Learn from how a request ended, then free its slot: whoever takes that is to know what was learned."""
        try:
            self._note(host, self._hosts[host], fault)
        finally:
            self.abandoned(host)

    def abandoned(self, host: str) -> None:
        """Free the slot of a request that this worker cut short."""
        known = self._hosts[host]
        known.busy -= 1
        self._slots.keep(host, max(known.busy, 0 if known.now().wait > 0 else known.most))

    def _note(self, host: str, known: _Host, fault: ImageFault | None) -> None:
        self.network.note(host, fault)
        if fault is not None and fault.reason.code == "blocked_address":
            return  # nobody was asked: that says nothing of the host, nor that it can be reached
        if fault is not None and fault.retry_after:
            known.failures = 0
            known.learn(host_records.pause(self._shared, host, fault.retry_after, fault.reason.code))
            log.info("%s asks to be left alone for %.0f s (%s)", host, fault.retry_after, fault.reason.code)
        elif fault is not None and is_hosts_fault(fault):
            self._failed(host, known, fault.reason.code)
        else:
            self._answered(host, known)

    def _failed(self, host: str, known: _Host, reason: str) -> None:
        known.failures += 1
        known.reason = reason
        if not known.circuit.openings and known.failures + known.circuit.failures < self._settings.breaker.failures:
            return
        if reason in SILENCE and not self.network.works():
            return  # written, or forgiven, when it is known whose fault it is
        before = known.circuit.openings
        self._write_failures(host, known)
        if known.circuit.openings > before:
            log.warning("%s fails (%s): it is left alone for %.0f s", host, reason, known.circuit.wait)

    def _write_failures(self, host: str, known: _Host) -> None:
        count, known.failures = known.failures, 0
        known.learn(host_records.change(self._shared, host, known.reason, lambda c: c.after(count, count, self._rule)))

    def _answered(self, host: str, known: _Host) -> None:
        known.failures = 0
        self._answered_hosts.add(host)
        before = known.circuit
        if before.openings or before.failures:
            known.learn(host_records.change(self._shared, host, None, lambda c: c.after(1, 0, self._rule)))
        if before.openings and not known.circuit.openings:
            log.info("%s answers again: its breaker is closed", host)

    def _is_refused(self, address: str) -> bool:
        settings = self._settings
        return settings.proxy is None and is_refused(address, settings.allowed_addresses, settings.denied_addresses)

    def _references(self, names: bool) -> list[str]:
        """Return hosts that answered lately, for their names some of the batch too; with a proxy, that alone."""
        if self._settings.proxy:
            return [urlsplit(self._settings.proxy).netloc.rpartition("@")[2]]
        lately = [*list(self._answered_hosts)[:_REFERENCES], *host_records.answered_lately(self._shared, _REFERENCES)]
        return lately + (random.sample(sorted(self._hosts), min(len(self._hosts), 2 * _REFERENCES)) if names else [])

    def forgive(self) -> None:
        """Forget failures in a row that were our own network's."""
        for known in self._hosts.values():
            known.failures = 0
        self.network.forget()

    def write_back(self) -> None:
        """Write which hosts answered, and failures in a row, on which the next batch counts on."""
        host_records.note_answers(self._shared, self._answered_hosts)
        for host, known in self._hosts.items():
            if known.failures:
                self._write_failures(host, known)

    def _turn(self, host: str, known: _Host) -> float:
        """Return the seconds until this host's reserved turn; a turn that has come is used up."""
        if known.turn_at is None:
            known.turn_at = time.monotonic() + host_records.turn(self._shared, host, known.limits.rate or 1.0)
        wait = known.turn_at - time.monotonic()
        if wait <= 0:
            known.turn_at = None
        return wait

    def refresh(self) -> None:
        """Once a second: read pauses that others wrote, give back unused slots, and half where another one waits."""
        if time.monotonic() - self._refreshed < _REFRESH:
            return
        self._refreshed = time.monotonic()
        self.prepare(self._hosts)
        awaited = self._slots.awaited()
        for host, known in self._hosts.items():
            held = self._slots.held(host)
            known.most = held // 2 if host in awaited else known.limits.per_host
            if held:
                self._slots.keep(host, max(known.busy, known.most) if known.busy else 0)
