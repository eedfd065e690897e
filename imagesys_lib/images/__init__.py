"""Images: their life, why one is not live, how files are named after them, and what they were made with."""
