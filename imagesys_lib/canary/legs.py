"""A canary's flight in legs, one on the worker and one to each node, each of steps that are timed and can fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from imagesys_lib.errors import CanaryFailed, Stopped
from imagesys_lib.nodes import NodeFault
from imagesys_lib.reasons import ImageFault

WORKER = "worker"
"""The leg before any node: to fetch the photo and make its thumbnails."""

Step = Callable[[str], AbstractContextManager[None]]
"""Times the block that is a leg's step of that name."""

_REMEDIES = {
    "fetch": "ask for canary.url from the worker: its host, our network, a proxy or the resolver is at fault; "
    "where the photo was replaced on purpose, correct canary.sha1.",
    "thumbnail": "the photo is a good one: look at the worker's load and memory, and at what was installed there last.",
    "push": "look at the load and network of {place}.",
    "sweep": "look at the load and network of {place}.",
    "read": "run `imagesys fs-check --country {country} --node {place} --scrub 1000`: its disk may be failing.",
    "http": "look at the web server of {place}, at what stands before it, and whether node_urls names its root.",
}


class Wrong(Exception):
    """A step came to its end, but not to what it should."""


class Limit(threading.Event):
    """Counts as set once ``stop`` is, or ``seconds`` have passed: what looks at it ends in time."""

    def __init__(self, stop: threading.Event, seconds: float) -> None:
        super().__init__()
        self.stop, self.seconds, self._began = stop, seconds, time.monotonic()

    @property
    def passed(self) -> float:
        """Seconds since the flight began."""
        return time.monotonic() - self._began

    def is_set(self) -> bool:
        """Say whether it is time to end."""
        return self.stop.is_set() or self.passed >= self.seconds

    def check(self) -> None:
        """Raise Stopped if it is time to end."""
        if self.is_set():
            raise Stopped


@dataclass(frozen=True)
class Leg:
    """What was seen at one place: the seconds of each step, in order, and the fault of the last one, if it has one."""

    place: str
    seconds: dict[str, float]
    fault: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Flight:
    """A whole flight. ``stamp`` is its time in UTC and the name of its files; ``seconds`` it took, of ``limit``."""

    country: str
    stamp: str
    limit: float
    seconds: float
    legs: tuple[Leg, ...]

    def check(self) -> None:
        """Raise CanaryFailed, naming each node, step and remedy, unless all is well."""
        bad = [leg for leg in self.legs if leg.fault]
        faults, remedies = [leg.fault for leg in bad], [leg.remedy for leg in bad]
        if not bad and self.seconds > self.limit:
            steps = [(seconds, step, leg.place) for leg in self.legs for step, seconds in leg.seconds.items()]
            seconds, step, place = max(steps)
            faults = [
                f"it took {self.seconds:.1f} s of at most {self.limit:g}, {seconds:.1f} of them {step} of {place}"
            ]
            remedies = [_REMEDIES[step].format(place=place, country=self.country)]
        if faults:
            remedy = " ".join(dict.fromkeys(remedies))
            raise CanaryFailed(f"{self.country.upper()} canary {self.stamp}: {'; '.join(faults)}.", remedy=remedy)


def fly_leg(country: str, place: str, limit: Limit, work: Callable[[Step], None]) -> Leg:
    """Do the steps of ``work`` up to the first that fails. Raises Stopped if told to stop."""
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began, seconds[name] = time.monotonic(), 0.0
        try:
            yield
        finally:
            seconds[name] = round(time.monotonic() - began, 3)

    try:
        work(step)
    except (Wrong, ImageFault, NodeFault, Stopped) as error:
        if limit.stop.is_set():
            raise Stopped from None
        name = list(seconds)[-1]
        told = f"not done within the whole path's {limit.seconds:g} s" if isinstance(error, Stopped) else str(error)
        remedy = _REMEDIES[name].format(place=place, country=country)
        if isinstance(error, NodeFault):
            told, remedy = error.message, error.remedy
        return Leg(place, seconds, f"{name} of {place}: {told}", remedy)
    return Leg(place, seconds)
