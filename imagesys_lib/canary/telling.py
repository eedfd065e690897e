"""What is mailed of canaries: one mail when they begin to fail, one when one comes through again."""

from __future__ import annotations

from imagesys_lib.alerts import incidents, outbox
from imagesys_lib.alerts.incidents import Kind, Over
from imagesys_lib.alerts.message import Message
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Session, write

_SUBJECT = "the canary"


def tell_failed(ctx: Context, trouble: str, link: str) -> None:
    """Put the mail about a failed flight into the outbox, unless the flight before it failed too."""
    run = "The run"
    message = Message(
        subject=f"[ImageSys] {ctx.country.upper()} canary failed",
        intro=(
            "A known photo did not come through the whole path, or took too long. Images of the website may be next. "
            "It is tried again each hour; a mail tells when it comes through."
        ),
        sections=(("What was seen", tuple(trouble.splitlines())), ("Where", (run,))),
        links={run: link},
    )

    def work(session: Session) -> None:
        if incidents.begin(session, Kind.CANARY, _SUBJECT):
            outbox.put(session, message)

    write(ctx.db, work)


def tell_well(ctx: Context) -> None:
    """Put the mail that takes a failure back into the outbox, if one was told."""

    def work(session: Session) -> None:
        over = incidents.end(session, Kind.CANARY, _SUBJECT)
        if over:
            outbox.put(session, _well(ctx.country, over))

    write(ctx.db, work)


def _well(country: str, over: Over) -> Message:
    return Message(
        subject=f"[ImageSys] {country.upper()} canary comes through again",
        intro=f"The known photo has come through the whole path to every node. It had failed since {over.since}.",
        sections=(),
        links={},
    )
