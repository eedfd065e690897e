"""Which nodes the sandbox has, and on which ports its services listen; include/countries.yaml names the nodes, too."""

from __future__ import annotations

NODE_NAMES = ("n1", "n2", "n3")

PORT_OFFSETS = {"mariadb": 0, "n1": 1, "n2": 2, "n3": 3, "website": 4, "mail": 5} | {
    "example": 10,
    "n1_web": 11,
    "n2_web": 12,
    "n3_web": 13,
}
"""Above the sandbox's first port; 6 to 9 are Airflow's."""
