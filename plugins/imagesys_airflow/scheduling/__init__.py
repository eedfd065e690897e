"""When runs happen, which day they are about, which task goes first, and which failures are tried again."""
