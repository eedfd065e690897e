"""Fetch photos from foreign web servers: bounded in time, size and redirects, polite, one reason a failure.

One thread drives all transfers through curl's multi interface. :mod:`fetcher` has the loop, :mod:`transfer` one
request, :mod:`waiting` the queues, :mod:`gate` politeness, :mod:`addresses` and :mod:`urls` what may be asked for.
"""

from imagesys_lib.errors import Stopped
from imagesys_lib.fetch.addresses import is_refused
from imagesys_lib.fetch.faults import contained
from imagesys_lib.fetch.fetcher import Fetcher
from imagesys_lib.fetch.gate import Admission, Gate, LocalGate
from imagesys_lib.fetch.jobs import Fetched, Job, NotModified, Outcome, Unattempted
from imagesys_lib.fetch.own import own_fetcher
from imagesys_lib.hostnames import host_of

__all__ = [
    "Admission",
    "Fetched",
    "Fetcher",
    "Gate",
    "Job",
    "LocalGate",
    "NotModified",
    "Outcome",
    "Stopped",
    "Unattempted",
    "contained",
    "host_of",
    "is_refused",
    "own_fetcher",
]
