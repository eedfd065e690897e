"""Frontend nodes: how they are reached, what they are asked, what can go wrong.

A node needs sshd, rsync, coreutils and findutils. docs/nodes.md is the page for its administrator.
"""

from __future__ import annotations

from imagesys_lib.nodes.answers import question
from imagesys_lib.nodes.commands import Entry, Space, parse_space, script_version
from imagesys_lib.nodes.faults import Garbled, NodeFault, fault_reason
from imagesys_lib.nodes.node import Node, node_from_connection
from imagesys_lib.nodes.ssh_session import NodeSession

__all__ = [
    "Entry",
    "Garbled",
    "Node",
    "NodeFault",
    "NodeSession",
    "Space",
    "fault_reason",
    "node_from_connection",
    "parse_space",
    "question",
    "script_version",
]
