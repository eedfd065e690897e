"""The fetcher: admits jobs by the host limits, drives all transfers in one thread, follows redirects hop by hop."""

from __future__ import annotations

import itertools
import math
import threading
import time
from pathlib import Path

import pycurl

from imagesys_lib.config import Fetch
from imagesys_lib.config.hostnames import host_of
from imagesys_lib.errors import Stopped
from imagesys_lib.fetch.http.faults import contained
from imagesys_lib.fetch.http.handle import make_handle
from imagesys_lib.fetch.http.jobs import Fetched, FetchJob, NotModified, Outcome, Unattempted
from imagesys_lib.fetch.http.lookups import Lookups
from imagesys_lib.fetch.http.multi import Multi
from imagesys_lib.fetch.http.queues import Task, Waiting
from imagesys_lib.fetch.http.speed import SpeedWatch
from imagesys_lib.fetch.http.transfer import HttpTransfer, Redirect, TransferVerdict
from imagesys_lib.fetch.http.urls import judged_wire
from imagesys_lib.fetch.politeness.admission import Limiter, LocalLimiter
from imagesys_lib.images.reasons import ImageFault

_STOP_LOOK = 0.25  # seconds between looks at `stop`
_ASKS = 100  # of the host limits at a time, which may be in a database: bytes are moved in between
_LEAST_WAIT = 0.05  # seconds, whatever the host limits say
_AWAY = 1.0  # seconds between two looks at a request from which on they are ours and not its host's


class Fetcher:
    """Fetches photos, ``settings.in_flight`` at once. Use it in a ``with`` block.

    It takes no proxy, netrc or CA bundle from the environment, keeps no cookies (one image's answer must not
    depend on another's), verifies TLS, and connects to public addresses only, or to those the settings open.

    Make it after any fork and use it in the thread that made it: curl's handles and sockets survive neither.
    """

    def __init__(self, settings: Fetch, limiter: Limiter | None = None, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._limiter: Limiter = limiter or LocalLimiter(settings)
        self._stop = stop or threading.Event()
        self._multi = Multi(settings.in_flight)
        self._waiting = Waiting()
        self._flights: dict[pycurl.Curl, HttpTransfer] = {}
        self._idle: list[pycurl.Curl] = []
        self._done: list[Outcome] = []
        self._watch = SpeedWatch(settings)
        self._lookups = Lookups() if settings.proxy is None else Lookups(math.inf)
        self._failure: BaseException | None = None
        self._looked = time.monotonic()
        self._closed = False
        self._keys = itertools.count(-1, -1)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether anything is queued, delayed, in flight, not yet handed out, or failed: the next poll raises then."""
        return bool(self._flights or self._waiting or self._done or self._failure)

    def add(self, job: FetchJob, *, after: float = 0.0) -> None:
        """Queue a job, not to begin before ``after`` seconds from now."""
        try:
            task = Task(job, judged_wire(job.url, None, self._settings))
        except Exception as error:  # noqa: BLE001  # what a URL raises is that image's
            host = host_of(job.url)
            self._done.append(Outcome(job, contained(error, "bad_url", host), host))
            return
        if after > 0:
            self._waiting.add_at(task, time.monotonic() + after)
        else:
            self._waiting.add(task)

    def poll(self, timeout: float) -> list[Outcome]:
        """Admit jobs, move bytes, and return what ended, as soon as anything did or after ``timeout`` seconds.

        Returns at once when nothing is busy. Call it often: bytes move only here. What time the caller takes, or a
        stopped process, is not charged to a request: one that fails for time or connection after that is made again.

        Raises Stopped once ``stop`` is set, and what a full disk or the host limits raise. Then transfers under way are
        aborted and leave nothing on disk, and every later call raises again.
        """
        until = time.monotonic() + timeout
        while True:
            self._may_go_on()
            try:
                self._admit()
                self._move(until)
                if self._done:  # what the caller does now takes time: no place in flight is empty meanwhile
                    self._admit()
                    self._move(until)
            except BaseException as error:
                self._failure = error
                self._abort()
                if not self._done or not isinstance(error, Exception):
                    raise
            if self._done:
                done, self._done = self._done, []
                return done  # a failure is raised by the next call: what ended before it has ended
            self._may_go_on()
            if not self.busy or time.monotonic() >= until:
                return []

    def drain(self) -> list[FetchJob]:
        """Take back all jobs that are not in flight: delayed ones too, and those between two hops of a redirect."""
        return [task.job for task in self._waiting.drain()]

    def fetch(self, url: str, target: Path, *, etag: str = "", last_modified: str = "") -> Fetched | NotModified:
        """Fetch one image and wait for it; what else ends meanwhile is handed out by the next poll.

        Raises ImageFault with the reason (``retry_after`` in seconds where the host or its limits asked for it),
        Stopped, or DiskFull; after any of them nothing is on disk. Messages name the host only: URLs may carry secrets.
        """
        job = FetchJob(next(self._keys), url, target, etag, last_modified)
        self.add(job)
        mine: Outcome | None = None
        others: list[Outcome] = []
        try:
            while mine is None:
                for outcome in self.poll(_STOP_LOOK):
                    if outcome.job is job:
                        mine = outcome
                    else:
                        others.append(outcome)
        finally:
            self._done = others + self._done
        if isinstance(mine.result, Unattempted):
            raise ImageFault("connect", f"{mine.host} is left alone for now", retry_after=mine.result.wait)
        if isinstance(mine.result, ImageFault):
            raise mine.result
        return mine.result

    def close(self) -> None:
        """Abort what is under way and close all connections."""
        if self._closed:
            return
        self._closed = True
        try:
            self._abort()
        finally:
            for handle in self._idle:
                handle.close()
            self._idle.clear()
            self._multi.close()

    def _may_go_on(self) -> None:
        if self._stop.is_set():
            self._failure = self._failure or Stopped()
        if self._failure is not None:
            self._abort()
            raise self._failure

    def _admit(self) -> None:
        now = time.monotonic()
        for name in self._lookups.due(now):
            self._waiting.wake(name)
        for _ in range(_ASKS):
            if len(self._flights) >= self._settings.in_flight:
                return
            host = self._waiting.turn(now)
            if host is None:
                return
            if not self._lookups.may_ask(host, now):
                self._waiting.sleep(host, math.inf)
                continue
            try:
                admission = self._limiter.admit(host)
            except BaseException:
                self._waiting.sleep(host, 0.0)  # its jobs can still be drained
                raise
            if admission.go:
                self._start(self._waiting.take(host))
            elif admission.give_up:
                left_alone = Unattempted(admission.wait)
                self._done += [Outcome(task.job, left_alone, host) for task in self._waiting.give_up(host)]
            else:
                self._waiting.sleep(host, now + max(admission.wait, _LEAST_WAIT))

    def _start(self, task: Task) -> None:
        try:
            handle = self._idle.pop() if self._idle else make_handle(self._settings)
            seconds = self._settings.image_deadline - task.spent
            transfer = HttpTransfer(handle, self._settings, task, seconds, self._on_dial)
            self._multi.add(handle)
        except BaseException as error:
            self._limiter.left(task.host, None)
            if not isinstance(error, Exception):
                raise
            self._done.append(Outcome(task.job, contained(error, "protocol", task.host), task.host))
            return
        task.fresh = False
        self._flights[handle] = transfer
        self._lookups.begin(task.host, transfer.began)
        self._watch.begin(transfer)

    def _on_dial(self, handle: pycurl.Curl) -> None:
        self._looked_up(self._flights[handle].task.host, known=True)

    def _looked_up(self, host: str, *, known: bool, hangs: bool = False) -> None:
        for waiting in self._lookups.end(host, time.monotonic(), known=known, hangs=hangs):
            self._waiting.wake(waiting)

    def _move(self, until: float) -> None:
        now = time.monotonic()
        wait = max(0.0, min(self._next_moment(), until, now + _STOP_LOOK) - now) if not self._done else 0.0
        if self._flights:
            finished = self._multi.run(wait)
            self._look(wait)
            for handle, code, words in finished:
                self._end(self._flights[handle], code, words)
            for transfer in self._watch.cut(lambda transfer: self._flights.get(transfer.handle) is transfer):
                self._end(transfer, 0, "")
        elif wait:
            self._stop.wait(wait)

    def _look(self, waited: float) -> None:
        """Note how long requests were not looked at, but for the ``waited`` seconds that we meant to."""
        now = time.monotonic()
        for transfer in self._flights.values() if now - self._looked - waited > _AWAY else ():
            transfer.away += max(0.0, now - max(self._looked, transfer.began) - waited)
        self._looked = now

    def _next_moment(self) -> float:
        """Return when there is something to do besides moving bytes."""
        moment = self._watch.next_at
        if len(self._flights) < self._settings.in_flight:
            moment = min(moment, self._waiting.next_at(), self._lookups.next_at)
        return moment

    def _end(self, transfer: HttpTransfer, code: int, words: str) -> None:
        task, host = transfer.task, transfer.task.host
        self._land(transfer, hangs=code == pycurl.E_OPERATION_TIMEDOUT)
        try:
            result = self._result(transfer, code, words)
        except BaseException:
            self._limiter.abandoned(host)
            raise
        fault = result if isinstance(result, ImageFault) else None
        if fault is not None and transfer.is_to_be_made_again(fault):
            self._waiting.add(task, first=True)
            self._limiter.abandoned(host)
            return
        if isinstance(result, Redirect):
            try:
                self._go_on(task, result.location)
            except Exception as wrong:  # noqa: BLE001  # where a host leads is its image's
                self._done.append(Outcome(task.job, contained(wrong, "bad_url", host), host))
        else:
            self._done.append(Outcome(task.job, result, host, task.hops))
        self._limiter.left(host, fault)  # last: if it raises, the outcome is known all the same

    def _result(self, transfer: HttpTransfer, code: int, words: str) -> Fetched | TransferVerdict:
        """Return what a request came to. The one place where an exception of a request ends as its image's fault."""
        try:
            return transfer.end(code, words)
        except Exception as error:  # noqa: BLE001  # as above
            return contained(error, "protocol", transfer.task.host)

    def _go_on(self, task: Task, location: str) -> None:
        """Queue the next hop at its own host, before the jobs there that have not begun."""
        if task.hops >= self._settings.max_redirects:
            raise ImageFault("redirect_loop", f"{task.host}: more than {self._settings.max_redirects} redirects")
        if task.spent >= self._settings.image_deadline:
            raise ImageFault("too_slow", f"{task.host}: not complete after {self._settings.image_deadline:g} s")
        task.wire = judged_wire(location, task.wire.base, self._settings)
        task.hops += 1
        self._waiting.add(task, first=True)

    def _land(self, transfer: HttpTransfer, *, hangs: bool = False) -> None:
        """Take a request out of the air, whatever it came to; ``hangs`` if its name lookup, if any, goes on."""
        host = transfer.task.host
        del self._flights[transfer.handle]
        self._multi.remove(transfer.handle)
        transfer.task.spent += time.monotonic() - transfer.began - transfer.away
        self._idle.append(transfer.handle)
        self._looked_up(host, known=transfer.is_connected, hangs=hangs)
        self._waiting.wake(host)  # a place may be free there

    def _abort(self) -> None:
        failure: BaseException | None = None
        for transfer in list(self._flights.values()):
            self._land(transfer)
            transfer.discard()
            try:
                self._limiter.abandoned(transfer.task.host)
            except Exception as error:  # noqa: BLE001  # the others must leave too
                failure = failure or error
        if failure is not None:
            raise failure
