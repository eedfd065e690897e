"""Replication: what nodes should hold, what each holds, and whether it is ready for visitors."""
