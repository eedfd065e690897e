"""Politeness to photo hosts over all workers, countries and runs, kept in the shared schema.

A host is known by ``name`` or ``name:port``. Its slots (requests in flight) are named locks of the database server,
which free themselves when a worker dies; its pauses, circuit breaker and rate are a row of ``lis_hosts``. Data sources
have circuit breakers of the same kind in ``lis_datasources``.
"""
