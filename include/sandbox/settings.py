"""Where the sandbox lives and on which ports: one value that every part of it takes."""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from include.sandbox.errors import SandboxError
from include.sandbox.nodes_and_ports import PORT_OFFSETS

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_BASE = PROJECT / ".local" / "sandbox"
DEFAULT_CACHE = PROJECT / ".local" / "cache"
DEFAULT_PORT_BASE = 18300

COUNTRIES = ("au", "br", "de", "es", "fr", "in", "it", "mx", "uk")
WEB_HOSTS = tuple(f"127.0.0.{last}" for last in range(11, 17))
"""Six loopback addresses stand for six hosts, so that limits per host can be seen at work."""

LOOPBACK = "127.0.0.1"

_SOCKET_PATH_LIMIT = 107
"""sun_path of a Unix socket holds 108 bytes with its closing zero (unix(7))."""


@dataclass(frozen=True)
class SandboxSettings:
    """One sandbox: its directory, its first port and the cache of photographs, which sandboxes share.

    Ports: +0 MariaDB, +1 to +3 sshd of n1 to n3, +4 web site, +5 SMTP; +6 to +9 are left for Airflow;
    +10 the example website, +11 to +13 the web servers of n1 to n3.
    """

    base: Path = field(default=DEFAULT_BASE)
    port_base: int = DEFAULT_PORT_BASE
    cache: Path = field(default=DEFAULT_CACHE)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", self.base.expanduser().resolve())
        object.__setattr__(self, "cache", self.cache.expanduser().resolve())
        if not 1024 <= self.port_base <= 65522:
            raise SandboxError(
                f"port base {self.port_base} is out of range: choose DEMO_PORT_BASE between 1024 and 65522"
            )
        if any(character.isspace() for character in str(self.base)):
            # sshd_config and process titles split at white space; refusing early is clearer than a node that
            # never answers.
            raise SandboxError(f"the sandbox directory must not contain white space: {self.base}. Choose another one.")

    @classmethod
    def from_environment(cls, base: Path | None = None, port_base: int | None = None) -> SandboxSettings:
        """The sandbox that a command means: arguments first, then DEMO_PORT_BASE, then the ports it was last
        started with.
        """
        directory = (base or DEFAULT_BASE).expanduser().resolve()
        if port_base is None:
            text = os.environ.get("DEMO_PORT_BASE") or _recorded_port_base(directory) or str(DEFAULT_PORT_BASE)
            try:
                port_base = int(text)
            except ValueError as error:
                raise SandboxError(f"the port base must be a number, not {text!r}: correct DEMO_PORT_BASE") from error
        return cls(base=directory, port_base=port_base)

    def record(self) -> None:
        """Remember the ports, so that `stop`, `status` and `env` need no DEMO_PORT_BASE to find what was
        started.
        """
        write_atomically(self.base / "port_base", f"{self.port_base}\n")

    def port(self, service: str) -> int:
        return self.port_base + PORT_OFFSETS[service]

    @property
    def log_dir(self) -> Path:
        return self.base / "log"

    @property
    def run_dir(self) -> Path:
        return self.base / "run"

    @property
    def mail_dir(self) -> Path:
        return self.base / "mail"

    @property
    def web_dir(self) -> Path:
        return self.base / "web"

    @property
    def photo_cache(self) -> Path:
        return self.cache / "photos"

    @property
    def mariadb_socket(self) -> Path:
        """Under the base where the path fits a Unix socket, else in a short private directory under /tmp."""
        preferred = self.base / "run" / "mariadb.sock"
        if len(os.fsencode(preferred)) <= _SOCKET_PATH_LIMIT:
            return preferred
        digest = hashlib.sha256(os.fsencode(self.base)).hexdigest()[:12]
        return Path("/tmp") / f"imagesys-{os.getuid()}-{digest}" / "mariadb.sock"  # noqa: S108 (checked to be ours)

    def secret(self, name: str) -> str:
        """A random password that is made once and kept in base/secrets (0600)."""
        path = self.base / "secrets" / name
        make_private_directory(path.parent)
        if not path.exists():
            draft = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
            try:
                os.link(draft, path)  # of two processes that make it at once, the first wins and both read the same
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text()


def current_user() -> str:
    return getpass.getuser()


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Readers see the old text or the new one, never a part; also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def make_private_directory(path: Path) -> None:
    """A directory that only its owner enters; one that somebody else made is refused, since /tmp is open to
    all.
    """
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.is_symlink():
        raise SandboxError(
            f"{path} belongs to another user: remove it, or choose another base directory for the sandbox"
        )
    path.chmod(0o700)


def _recorded_port_base(base: Path) -> str | None:
    try:
        return (base / "port_base").read_text().strip() or None
    except FileNotFoundError:
        return None
