"""Worker processes: a crash, a hang or a hunger for memory costs the one photo that caused it."""
