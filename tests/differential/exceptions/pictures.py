"""x"""

EXCEPTIONS: dict[str, tuple[str, ...]] = {}
