"""Real services on loopback, each started, found again and ended."""
