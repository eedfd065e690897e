"""Classes of images: the three kinds that the system tells apart; people's own classes are each of one of them."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal["photo", "graphic", "blank"]
"""``graphic``: floor plans, maps, logos, text. ``blank``: one colour."""

KINDS: tuple[Kind, ...] = get_args(Kind)
