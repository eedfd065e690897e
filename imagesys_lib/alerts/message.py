"""What a mail says, once for both of its parts."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field

from imagesys_lib.output.printable import printable

Sections = tuple[tuple[str, tuple[str, ...]], ...]
"""Titles, each with its items."""

LONGEST = 500_000
"""Characters of a mail's part: far more than anybody reads, far less than mail servers and the outbox take."""


@dataclass(frozen=True)
class Written:
    """A mail as it goes out."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Message:
    """A mail in parts: a heading and, under titles, paragraphs or items, some with a link."""

    subject: str
    intro: str
    sections: Sections
    links: Mapping[str, str] = field(default_factory=dict)

    def written(self) -> Written:
        """Return the mail to send: a part that is too long is cut and says so."""
        text, page = printable(self.text(), lines=True), printable(self.html(), lines=True)
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}\n\n(Cut off here: {len(text) - LONGEST} more characters.)\n"
        if len(page) > LONGEST:
            page = f"<pre>{html.escape(text)}</pre>"  # tags cannot be cut
        return Written(printable(self.subject)[:255], text, page)

    def text(self) -> str:
        """Return the plain-text part of the mail."""
        lines = [self.intro]
        for title, items in self.sections:
            lines += ["", title]
            for item in items:
                lines += ["  - " + item.replace("\n", "\n    ")]
                lines += [f"    {self.links[item]}"] if item in self.links else []
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """Return the HTML part of the mail."""
        parts = [f"<p>{_escape(self.intro)}</p>"]
        for title, items in self.sections:
            rows = "".join(f"<li>{self._item(item)}</li>" for item in items)
            parts.append(f"<h3>{_escape(title)}</h3><ul>{rows}</ul>")
        return "\n".join(parts)

    def _item(self, item: str) -> str:
        link = self.links.get(item)
        return f'<a href="{html.escape(link)}">{_escape(item)}</a>' if link else _escape(item)


def _escape(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
