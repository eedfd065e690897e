"""Fetch photos from foreign web servers: bounded in time, size and redirects, polite, one reason a failure.

One thread drives all transfers through curl's multi interface. :mod:`fetcher` has the loop, :mod:`transfer` one
request, :mod:`waiting` the queues, :mod:`gate` politeness, :mod:`addresses` and :mod:`urls` what may be asked for.
"""
