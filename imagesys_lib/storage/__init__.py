"""Files that appear whole or not at all, and work done ahead of its use."""
