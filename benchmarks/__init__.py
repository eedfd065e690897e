"""Measurements: each puts ImageSys beside what a user would take instead, in one run on real services."""
