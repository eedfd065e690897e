"""What is mailed of canaries: one mail when they begin to fail, one when one comes through again."""

from __future__ import annotations

from imagesys_lib.alerts import incidents, outbox
from imagesys_lib.alerts.incidents import Kind
from imagesys_lib.alerts.message import Message
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Session, write

_SUBJECT = "the canary"


def notify_failed(ctx: Context, trouble: str, link: str) -> None:
    """Put the mail about a failed run into the outbox, unless the run before it failed too."""
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


def notify_recovered(ctx: Context) -> None:
    """Put the mail that the canary comes through again into the outbox, if a failure was mailed."""

    def work(session: Session) -> None:
        over = incidents.end(session, Kind.CANARY, _SUBJECT)
        if over:
            intro = f"The known photo has come through the whole path to every node. It had failed since {over.since}."
            outbox.put(session, Message(f"[ImageSys] {ctx.country.upper()} canary comes through again", intro, ()))

    write(ctx.db, work)
