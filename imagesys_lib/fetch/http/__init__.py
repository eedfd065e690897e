"""Transfers: one thread drives them all through curl, from a URL to a body on disk or one reason."""
