"""Runs of a country, and the leases on their batches."""
