"""What heal, plan and report cost on small and large tables with the same day's work: `make bench-ops`."""
