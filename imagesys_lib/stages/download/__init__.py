"""Download: fetch the originals of one batch to staging."""
