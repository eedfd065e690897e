"""x"""

EXCEPTIONS: dict[str, tuple[str, ...]] = {}
HOSTS: dict[str, tuple[str, ...]] = {}
