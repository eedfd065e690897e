"""What runs in a decoding process: limits first, then one job after the other."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import signal
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing import forkserver

from imagesys_lib.errors import ImageSysError
from imagesys_lib.thumbnail.messages import Made, ThumbnailJob, ThumbnailWork

WALL = 3
NO_MEMORY = 79
"""How a process ends that has no memory left."""
_PR_SET_PDEATHSIG = 1  # prctl(2)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def prepare(memory_mb: int) -> None:
    """Bind this process: it dies with its parent and by SIGTERM at once, and has so much memory and no more.

    RLIMIT_DATA counts what is allocated (heap and private mappings). RLIMIT_AS would also count libraries and
    reservations that cost nothing, and trip over them.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if hasattr(libc, "mallopt"):  # glibc: keep what one photo took for the next, rather than have it zeroed anew
        libc.mallopt(_M_MMAP_THRESHOLD, 16 * 1024 * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, 32 * 1024 * 1024)
    _let_the_server_go()
    # Python's handlers run between bytecodes, so never while C code hangs: the default action does.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for alarm in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(alarm, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent stops us
    limit = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.WARNING)  # decoders' chatter; what matters comes back as a result
    silence = os.open(os.devnull, os.O_WRONLY)  # C libraries write to the descriptor, megabytes for some files
    os.dup2(silence, 2)
    os.close(silence)
    gc.freeze()  # what the server has imported is nobody's garbage
    warnings.simplefilter("ignore")


def _let_the_server_go() -> None:
    """Close our end of the pipe that keeps the fork server alive, so that it dies with the caller, and we with it.

    multiprocessing hands it to each child in case that starts processes of its own, which none of ours does.
    """
    server = getattr(forkserver, "_forkserver", None)
    descriptor = getattr(server, "_forkserver_alive_fd", None)
    if descriptor is not None:
        os.close(descriptor)


def make(job: ThumbnailJob) -> Made:
    """Make and write one photo's thumbnails. The decoders are imported here: who hands out jobs has no use for them."""
    from imagesys_lib.thumbnail.processes.preload import make_and_write  # noqa: PLC0415

    return make_and_write(job)


def make_all(work: ThumbnailWork, jobs: Sequence[ThumbnailJob], seconds: float) -> list[Made]:
    """Do ``jobs`` in turn; one that takes longer ends the process by a signal, whatever it does.

    What one raises is its own ``decode_error``, but for what the system or our disk says. It ends the process, too,
    if one that finds no memory: a process that lives long may have little left to give.

    ``seconds`` are of CPU, so that a busy machine condemns no photo; of wall clock it may take ``WALL`` times as many.
    """
    made = []
    for job in jobs:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WALL * seconds)
        try:
            made.append(work(job))
        except MemoryError:
            os._exit(NO_MEMORY)
        except Exception as error:
            # Pillow raises OSError without a number for what is wrong with a picture.
            if isinstance(error, ImageSysError) or getattr(error, "errno", None) is not None:
                raise
            detail = f"{type(error).__name__}: {error}"
            made.append(Made(job.key, code="decode_error", detail=detail, raised=traceback.format_exc(limit=-8)))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    return made
