"""The process behind `mail`: takes any mail over SMTP and writes it as a file.

Usage: python -m include.sandbox.services.mail_server DIRECTORY PORT
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from include.sandbox.settings import LOOPBACK


class FileHandler:
    """Writes <number>-<time>.eml. A number is never given twice, also after a restart; a reader never sees
    half a mail.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.drafts = directory / ".drafts"
        self.drafts.mkdir(parents=True, exist_ok=True)
        self.last = max((int(path.name.split("-")[0]) for path in directory.glob("*-*.eml")), default=0)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        self.last += 1
        name = f"{self.last:06d}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}.eml"
        body = envelope.original_content or b""
        header = f"X-Sandbox-From: {envelope.mail_from}\r\nX-Sandbox-To: {', '.join(envelope.rcpt_tos)}\r\n"
        draft = self.drafts / name
        draft.write_bytes(header.encode("utf-8", "replace") + body)
        draft.replace(self.directory / name)
        print(f"{name} to {', '.join(envelope.rcpt_tos)}", flush=True)
        return "250 OK"


async def serve(directory: Path, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    handler = FileHandler(directory)
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="sandbox.test", loop=loop), LOOPBACK, port, reuse_address=True
    )
    print(f"listening on {LOOPBACK}:{port}", flush=True)
    await stopping.wait()
    server.close()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning, module="aiosmtpd")
    os.chdir("/")
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
