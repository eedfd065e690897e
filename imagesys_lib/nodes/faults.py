"""What keeps a node from being worked with, by reasons that stay the same."""

from __future__ import annotations

from imagesys_lib.errors import EXIT_ENVIRONMENT, ImageSysError


class NodeFault(ImageSysError):
    """A node cannot be worked with now. ``reason`` is stable; the change log is the retry."""

    def __init__(self, node: str, reason: str, detail: str) -> None:
        self.node, self.reason, self.detail = node, reason, detail
        if reason in _WRONG_SETUP:
            self.exit_code = EXIT_ENVIRONMENT
        super().__init__(f"Node {node}: {reason}: {detail}", remedy=_REMEDIES[reason].format(node=node))


class Garbled(ValueError):
    """What a node sends is no answer to what it was asked."""


_REMEDIES = {
    "host_key": "its key changed: verify it with the node's administrator, then update host_key of connection {node}.",
    "auth": "install the key of connection {node} in the node's authorized_keys, or correct its login.",
    "inodes_full": "free inodes on {node}, then clear its sync task; it catches up from the change log.",
    "unreachable": "start sshd on {node} or its network, then clear its sync task; the next run does the same.",
    "disk_full": "free space on {node}, then clear its sync task; it catches up from the change log.",
    "timeout": "look at {node}'s load and network, then clear its sync task.",
    "interrupted": "clear the sync task of {node}.",
    "busy": "another run is at {node} and brings it up to date; clear its sync task if that run has failed.",
    "shell_output": "let the login shell of {node} be silent where nobody types: in its ~/.bashrc and /etc/profile put "
    "`case $- in *i*) ;; *) return ;; esac` before what prints or reads (docs/nodes.md).",
    "refused": "install the newest imagesys-node on {node}: the one there does not know this command (docs/nodes.md).",
    "transfer": "read the message above, mend {node}, then clear its sync task.",
}

_WRONG_SETUP = frozenset({"host_key", "auth", "refused", "shell_output"})
"""No waiting helps: somebody must correct a connection or a node."""

_MESSAGES = (  # what ssh and rsync say, in lower case; the first match counts
    ("imagesys-node: refused", "refused"),
    ("imagesys-node: no list", "shell_output"),
    ("rather than greeting", "shell_output"),
    ("is your shell clean", "shell_output"),
    ("protocol startup error", "shell_output"),
    ("host key verification failed", "host_key"),
    ("remote host identification has changed", "host_key"),
    ("permission denied (publickey", "auth"),
    ("permission denied (password", "auth"),
    ("permission denied (keyboard", "auth"),
    ("too many authentication failures", "auth"),
    ("no space left on device", "disk_full"),
    ("disk quota exceeded", "disk_full"),
    ("connection refused", "unreachable"),
    ("connection timed out", "unreachable"),
    ("no route to host", "unreachable"),
    ("network is unreachable", "unreachable"),
    ("could not resolve hostname", "unreachable"),
    ("connection reset", "unreachable"),
    ("connection closed by", "unreachable"),
    ("kex_exchange_identification", "unreachable"),
    ("did not see server greeting", "interrupted"),
    ("timeout in data", "timeout"),
    ("timed out", "timeout"),
)


def fault_reason(returncode: int, stderr: str) -> str:
    """Return the stable reason of a failed ssh or rsync, from its exit code and messages."""
    text = stderr.lower()
    for message, reason in _MESSAGES:
        if message in text:
            return reason
    if returncode in (30, 35):
        return "timeout"
    if returncode in (12, 20, 255) or returncode < 0 or 128 < returncode < 255:  # a signal, here or there
        return "interrupted"
    return "transfer"


def node_fault(node: str, returncode: int, stderr: str) -> NodeFault:
    """Return the fault of a node where ssh, rsync or a command there failed; it has the last of the messages."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("@@")]
    detail = "; ".join(lines[-3:]) or f"exit code {returncode}"
    return NodeFault(node, fault_reason(returncode, stderr), detail[:500])
