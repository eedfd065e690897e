"""Nodes at scale: a push, the full check, a scrub and a refill, and what 15 million files would take."""
