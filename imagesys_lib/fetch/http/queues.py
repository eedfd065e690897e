"""Jobs that wait: a queue per host, hosts in turn, sleepers by time. No step but draining depends on how many."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass

from imagesys_lib.fetch.http.jobs import FetchJob
from imagesys_lib.fetch.http.urls import Wire


@dataclass
class Task:
    """A job on its way: the URL of the current hop, hops behind it, seconds in flight so far.

    ``fresh`` if its next request is to have a connection of its own.
    """

    job: FetchJob
    wire: Wire
    hops: int = 0
    spent: float = 0.0
    fresh: bool = False

    @property
    def host(self) -> str:
        return self.wire.host


class Waiting:
    """Every host with jobs is in exactly one place: in the round, asleep, or with the caller between
    :meth:`turn` and :meth:`take`, :meth:`sleep` or :meth:`give_up`. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Task]] = {}
        self._round: deque[str] = deque()
        self._asleep: dict[str, float] = {}
        self._timers: list[tuple[float, int, str | Task]] = []  # a heap; a host's entry counts while it is asleep so
        self._numbers = itertools.count()
        self._delayed = 0

    def __bool__(self) -> bool:
        return bool(self._queues) or self._delayed > 0

    def add(self, task: Task, *, first: bool = False) -> None:
        """Queue at the end of its host's queue, or ``first``: what has begun goes before what has not."""
        queue = self._queues.get(task.host)
        if queue is None:
            queue = self._queues[task.host] = deque()
            self._round.append(task.host)
        if first:
            queue.appendleft(task)
        else:
            queue.append(task)

    def add_at(self, task: Task, when: float) -> None:
        """Queue a task once ``when`` has come."""
        self._delayed += 1
        heapq.heappush(self._timers, (when, next(self._numbers), task))

    def turn(self, now: float) -> str | None:
        """Return the host whose turn it is, or None."""
        while self._timers and self._timers[0][0] <= now:
            when, _, item = heapq.heappop(self._timers)
            if isinstance(item, Task):
                self._delayed -= 1
                self.add(item)
            elif self._asleep.get(item) == when:
                self.wake(item)
        return self._round.popleft() if self._round else None

    def take(self, host: str) -> Task:
        """Take the next job of the host whose turn it is; the host goes to the end of the round."""
        queue = self._queues[host]
        task = queue.popleft()
        if queue:
            self._round.append(host)
        else:
            del self._queues[host]
        return task

    def sleep(self, host: str, until: float) -> None:
        """Leave the host whose turn it is alone until ``until`` (monotonic), or until it is woken."""
        self._asleep[host] = until
        if until < math.inf:
            heapq.heappush(self._timers, (until, next(self._numbers), host))

    def wake(self, host: str) -> None:
        """Bring a sleeping host back into the round."""
        if self._asleep.pop(host, None) is not None:
            self._round.append(host)

    def give_up(self, host: str) -> list[Task]:
        """Take out all jobs of the host whose turn it is."""
        return list(self._queues.pop(host))

    def next_at(self) -> float:
        """Return when a host has its turn: the past if one has it now, infinity if none sleeps by time."""
        if self._round:
            return -math.inf
        while self._timers:
            when, _, item = self._timers[0]
            if isinstance(item, Task) or self._asleep.get(item) == when:
                return when
            heapq.heappop(self._timers)
        return math.inf

    def drain(self) -> list[Task]:
        """Take out all jobs, in no particular order."""
        taken = [item for _, _, item in self._timers if isinstance(item, Task)]
        taken += itertools.chain.from_iterable(self._queues.values())
        for held in (self._timers, self._queues, self._round, self._asleep):
            held.clear()
        self._delayed = 0
        return taken
