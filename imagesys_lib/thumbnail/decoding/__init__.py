"""Decoding: from the bytes of each format to the pixels that a browser shows."""
