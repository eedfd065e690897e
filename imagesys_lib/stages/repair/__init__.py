"""Repair: give a node what it lacks, from staging or a peer."""
