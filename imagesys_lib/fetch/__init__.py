"""Fetch photos from foreign web servers: bounded in time, size and redirects, polite, one reason a failure.

One thread drives all transfers through curl's multi interface. :mod:`http.fetcher` has the loop,
:mod:`http.transfer` one request, :mod:`http.queues` the queues; :mod:`politeness` has the limits of hosts,
:mod:`addresses` and :mod:`http.urls` say what may be asked for.
"""
