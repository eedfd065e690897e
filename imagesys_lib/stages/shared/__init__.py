"""What several stages share: work on a batch, placeholders, bad rows, and when staged files go."""
