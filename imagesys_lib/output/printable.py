"""Strangers' words as they may be shown: on a terminal, in a log, a mail, a title, a page."""

from __future__ import annotations

import re

# C0, DEL, C1, what turns the direction of text, separators of lines, invisible signs, halves of surrogates. Joiners
# (U+200C, U+200D) stay, which Persian and emoji are written with.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f"
)
_ANY = re.compile(f"[{_UNSEEN}]")
_BUT_LINES = re.compile(rf"(?!\n)[{_UNSEEN}]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return ``text`` with each character that would act on what shows it as its escape, such as ``\x1b``.

    ``lines`` keeps new lines, for text of our own that has several. Each way out has one place that calls this: the
    command line's consoles, the making of our log records and errors, mails, run notes and questions.
    """
    return (_BUT_LINES if lines else _ANY).sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
