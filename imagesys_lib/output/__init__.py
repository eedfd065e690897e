"""What goes out to people: escaped words, and the logs of commands."""
