"""What a check comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imagesys_lib.errors import ImageSysError


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was seen and, if it is not ``ok``, what to do about it."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.detail}" + (f" Remedy: {self.remedy}" if self.remedy else "")


def attempt(check: str, work: Callable[[], str]) -> Finding:
    """Return what ``work`` saw, or the fault it raised, whatever it was."""
    try:
        return Finding(check, True, work())
    except ImageSysError as error:
        return Finding(check, False, error.message, error.remedy)
    except Exception as error:  # noqa: BLE001 - one check that breaks must not keep the others from being made
        return Finding(check, False, f"could not be checked: {type(error).__name__}: {error}", _UNFORESEEN)


_UNFORESEEN = "mend what that names and call the doctor again; the other checks have been made."
