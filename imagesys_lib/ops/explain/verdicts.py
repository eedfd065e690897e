"""Why is an image not live, why is it not on a node: pure judgements, one sentence each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imagesys_lib.images.states import Desired, State

MARKS: Mapping[str, str] = {
    "missing": "a check found it missing",
    "wrong_size": "a check found a file of another size",
    "not_a_file": "a check found a folder, a link or another thing in the place of a file",
    "damaged": "a scrub found other bytes",
    "extra": "a check found files that should not be there",
    "transfer": "its transfer failed",
    "not_staged": "its files were not staged any more",
}


@dataclass(frozen=True)
class OnNode:
    """An image on one node: what should be there (bytes by path) and what the database and the node say.

    ``waits_since``: its change is not acknowledged. ``files`` is what is there, None where the node could not be asked;
    ``unseen`` says why.
    """

    node: str
    desired: Desired
    wanted: Mapping[str, int]
    waits_since: str | None = None
    sync_fault: str = ""
    mark: str | None = None
    marked_since: str | None = None
    files: Mapping[str, int] | None = None
    unseen: str = ""


@dataclass(frozen=True)
class NodeVerdict:
    """Whether a node is as it should be for one image, and the sentence that says so."""

    ok: bool
    text: str


def judge_node(on: OnNode) -> NodeVerdict:
    """Say whether the node holds what it should of the image and, if not, why."""
    why = _why(on)
    if on.files is None:
        return NodeVerdict(not why and not on.unseen, ". ".join(filter(None, (why, on.unseen))) or "acknowledged")
    if on.desired is not Desired.PRESENT:
        seen = "no files, as it should be" if not on.files else f"{len(on.files)} files that should not be there"
        return NodeVerdict(not why and not on.files, f"{seen}: {why}" if why else seen)
    lacks = [_name(path) for path in on.wanted if path not in on.files]
    other = [_name(path) for path, size in on.wanted.items() if on.files.get(path, size) != size]
    if not lacks and not other:
        return NodeVerdict(not why, f"holds it, but {why}" if why else "holds it")
    seen = ", ".join(
        [f"lacks thumbnail {name}" for name in lacks] + [f"thumbnail {name} has other bytes" for name in other]
    )
    return NodeVerdict(
        False, f"{seen}: {why or 'it has acknowledged it; the next check finds it, its repair brings it'}"
    )


def _why(on: OnNode) -> str:
    """Return what keeps the node from its desired state; "" if nothing is known to."""
    if on.mark:
        return f"marked for repair since {on.marked_since} UTC: {MARKS.get(on.mark, on.mark)}"
    if on.waits_since is None:
        return ""
    fault = f", and its last sync failed: {on.sync_fault}" if on.sync_fault else "; its next sync brings it"
    return f"the change of {on.waits_since} UTC is not acknowledged{fault}"


def _name(path: str) -> str:
    """Return how a thumbnail is called: ``1``, or ``1.webp`` for a sibling."""
    return path.rpartition("/")[2].partition(".")[2].removesuffix(".jpg")


@dataclass(frozen=True)
class Work:
    """The batch that has an image: its run and its state, and by whom it is held until when, if it is."""

    batch_id: int
    run_id: str
    run_state: str | None
    holder: str | None = None
    until: str | None = None


@dataclass(frozen=True)
class Closed:
    """A host or data source that is left alone now: an open breaker, or a pause that the host asked for."""

    what: str
    seconds: float
    breaker: bool = True

    def __str__(self) -> str:
        why = "its breaker is open" if self.breaker else "it asked for a pause"
        return f"{self.what} is left alone for another {self.seconds / 60:.0f} min: {why}"


@dataclass(frozen=True)
class ImageFacts:
    """What decides whether an image is live. ``nodes`` hold it in its newest form, of ``quorum`` that must."""

    state: State
    live: bool
    desired: Desired = Desired.NONE
    reason: str | None = None
    detail: str | None = None
    next_attempt_at: str = ""
    due: bool = True
    work: Work | None = None
    nodes: int = 0
    quorum: int = 0
    closed: tuple[Closed, ...] = field(default=())


def judge_image(image: ImageFacts) -> str:
    """Say whether the image is live and, if not, what it waits for."""
    if image.live and image.state is State.LIVE and image.reason:
        return f"Live as it was made before: to make it again failed ({image.reason}); `imagesys retry` queues it."
    if image.live:
        return "Live." if image.state is State.LIVE else f"Live as it was made before; being made again. {_next(image)}"
    return _next(image)


def _next(image: ImageFacts) -> str:
    sentence = _SENTENCES[image.state](image)
    closed = image.closed if image.state in (State.NEW, State.RESERVED, State.FAILED) else ()
    return " ".join([sentence, *(f"{one}." for one in closed)])


def _new(image: ImageFacts) -> str:
    if image.due:
        return "Not fetched yet: the next run takes it."
    return f"Not fetched yet: given back, taken again from {image.next_attempt_at} UTC."


def _at_work(image: ImageFacts) -> str:
    todo = "to be fetched" if image.state is State.RESERVED else "fetched, without thumbnails yet"
    work = image.work
    if work is None:
        return f"In no batch, {todo}: the next heal frees it."
    place = f"In batch {work.batch_id} of {work.run_id}, {todo}"
    if work.holder:
        return f"{place}: held by {work.holder} until {work.until} UTC."
    if work.run_state == "running":
        return f"{place}: nobody is at it now. Clear its task if it has failed."
    return f"{place}: nobody is at it and the run is {work.run_state or 'gone'}; the next heal frees it."


def _made(image: ImageFacts) -> str:
    if image.nodes >= image.quorum:
        return f"Made, and {image.nodes} nodes hold it: the next publish makes it live."
    return f"Made; waits for a quorum: {image.nodes} of the {image.quorum} nodes hold it that must."


def _purged(image: ImageFacts) -> str:
    why = f" ({image.detail})" if image.detail else ""
    if image.desired is Desired.PRESENT:
        until = image.next_attempt_at
        return f"Off the site{why}; its files leave the nodes from {until} UTC, unless it is listed again."
    return f"Purged{why}: comes back when a listing shows it again."


_SENTENCES: Mapping[State, Callable[[ImageFacts], str]] = {
    State.NEW: _new,
    State.RESERVED: _at_work,
    State.DOWNLOADED: _at_work,
    State.THUMBNAILED: _made,
    State.LIVE: lambda _: "State live without a live row: run `imagesys db-scan`.",
    State.PURGED: _purged,
    State.FAILED: lambda image: f"Not live: {image.reason}; tried again from {image.next_attempt_at} UTC.",
    State.REJECTED: lambda image: f"Not live: {image.reason}; waits for new ETL data or `imagesys retry`.",
    State.QUARANTINED: lambda image: f"Not live: {image.reason}; set aside until somebody releases it.",
}
