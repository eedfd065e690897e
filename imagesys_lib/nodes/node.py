"""Where a node is and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imagesys_lib.config import CountryConfig, Transfer
from imagesys_lib.config.connections import Connection
from imagesys_lib.errors import EnvironmentFault


@dataclass(frozen=True)
class Node:
    """Where a node is and how it is reached; taken from one ssh connection."""

    name: str
    host: str
    port: int
    login: str
    root: Path
    host_key: str
    transfer: Transfer
    key_file: str = ""
    private_key: str = field(default="", repr=False)


def node_from_connection(connection: Connection, config: CountryConfig) -> Node:
    """Read a node from its ssh connection. Raises EnvironmentFault where it has no host key to verify."""
    extra = connection.extra
    host_key = str(extra.get("host_key") or "").strip()
    if host_key and not host_key.startswith(("ssh-", "ecdsa-", "sk-")):
        host_key = f"ssh-rsa {host_key}"  # the SSH provider's reading of a bare key
    if not host_key:
        raise EnvironmentFault(
            f"Connection {connection.conn_id!r} has no host_key extra; an unverified host is never written to.",
            remedy=f"run `ssh-keyscan -t ed25519 {connection.host}` on a trusted network and store the key there.",
        )
    return Node(
        name=connection.conn_id,
        host=connection.host,
        port=connection.port or 22,
        login=connection.login,
        root=Path(str(extra.get("root") or config.node_root)),
        host_key=host_key,
        transfer=config.transfer,
        key_file=str(extra.get("key_file") or ""),
        private_key=str(extra.get("private_key") or ""),
    )
