"""A canary run: at the worker and at each node, steps that are timed and can fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from imagesys_lib.errors import CanaryFailed, Stopped
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.nodes import NodeFault

WORKER = "worker"
"""The place of the first steps: to fetch the photo and make its thumbnails."""

Step = Callable[[str], AbstractContextManager[None]]
"""Times the block that is the step of that name."""

_REMEDIES = {
    "fetch": "ask for canary.url from the worker: its host, our network, a proxy or the resolver is at fault; "
    "where the photo was replaced on purpose, correct canary.sha1.",
    "thumbnail": "the photo is a good one: look at the worker's load and memory, and at what was installed there last.",
    "push": "look at the load and network of {place}.",
    "sweep": "look at the load and network of {place}.",
    "read": "run `imagesys fs-check {country} --node {place} --scrub 1000`: its disk may be failing.",
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
        """Seconds since the canary run began."""
        return time.monotonic() - self._began

    def is_set(self) -> bool:
        """Say whether the canary run is to end."""
        return self.stop.is_set() or self.passed >= self.seconds

    def check(self) -> None:
        """Raise Stopped if the canary run is to end."""
        if self.is_set():
            raise Stopped


@dataclass(frozen=True)
class Place:
    """What was seen at one place: the seconds of each step, in order, and the fault of the last one, if it has one."""

    name: str
    seconds: dict[str, float]
    fault: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{step} {seconds:.2f} s" for step, seconds in self.seconds.items())


@dataclass(frozen=True)
class CanaryRun:
    """A whole run. ``stamp`` is its time in UTC and the name of its files; ``seconds`` it took, of ``limit``."""

    country: str
    stamp: str
    limit: float
    seconds: float
    places: tuple[Place, ...]

    def check(self) -> None:
        """Raise CanaryFailed, naming each node, step and remedy, unless all is well."""
        faults = [place.fault for place in self.places if place.fault]
        remedies = [place.remedy for place in self.places if place.fault]
        if not faults and self.seconds > self.limit:
            steps = [(seconds, step, place.name) for place in self.places for step, seconds in place.seconds.items()]
            seconds, step, name = max(steps)
            faults = [f"it took {self.seconds:.1f} s of at most {self.limit:g}, {seconds:.1f} of them {step} of {name}"]
            remedies = [_REMEDIES[step].format(place=name, country=self.country)]
        if faults:
            remedy = " ".join(dict.fromkeys(remedies))
            raise CanaryFailed(f"{self.country.upper()} canary {self.stamp}: {'; '.join(faults)}.", remedy=remedy)


def run_steps(country: str, place: str, limit: Limit, work: Callable[[Step], None]) -> Place:
    """Do the steps of ``work`` at one place, up to the first that fails. Raises Stopped if asked to stop."""
    done: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began, done[name] = time.monotonic(), 0.0
        try:
            yield
        finally:
            done[name] = round(time.monotonic() - began, 3)

    try:
        work(step)
    except (Wrong, ImageFault, NodeFault, Stopped) as error:
        if limit.stop.is_set():
            raise Stopped from None
        name = list(done)[-1]
        what, remedy = str(error), _REMEDIES[name].format(place=place, country=country)
        if isinstance(error, Stopped):
            what = f"not done within the whole path's {limit.seconds:g} s"
        if isinstance(error, NodeFault):
            what, remedy = error.message, error.remedy
        return Place(place, done, f"{name} of {place}: {what}", remedy)
    return Place(place, done)
