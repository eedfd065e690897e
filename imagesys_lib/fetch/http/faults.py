"""What curl's error codes, and exceptions, mean for an image."""

from __future__ import annotations

import logging

import pycurl

from imagesys_lib.errors import ImageSysError
from imagesys_lib.images.reasons import ImageFault

log = logging.getLogger(__name__)

# Constants that pycurl has no name for.
_E_SSL_CLIENTCERT, _E_QUIC, _E_PROXY = 98, 96, 97

_CODES: dict[int, str] = {
    pycurl.E_URL_MALFORMAT: "bad_url",
    pycurl.E_COULDNT_RESOLVE_HOST: "dns",
    pycurl.E_COULDNT_RESOLVE_PROXY: "connect",
    pycurl.E_COULDNT_CONNECT: "connect",
    _E_PROXY: "connect",
    pycurl.E_GOT_NOTHING: "connect",
    pycurl.E_SEND_ERROR: "connect",
    pycurl.E_RECV_ERROR: "connect",
    pycurl.E_PARTIAL_FILE: "truncated",
    pycurl.E_FILESIZE_EXCEEDED: "too_large",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    **dict.fromkeys(
        (
            pycurl.E_SSL_CONNECT_ERROR,
            pycurl.E_PEER_FAILED_VERIFICATION,
            pycurl.E_SSL_CERTPROBLEM,
            pycurl.E_SSL_CIPHER,
            pycurl.E_SSL_CACERT_BADFILE,
            pycurl.E_SSL_ISSUER_ERROR,
            pycurl.E_SSL_SHUTDOWN_FAILED,
            pycurl.E_SSL_INVALIDCERTSTATUS,
            _E_SSL_CLIENTCERT,
        ),
        "tls",
    ),
}
_DROPPED = frozenset({pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR})


def curl_fault(code: int, words: str, host: str, *, in_body: bool) -> ImageFault:
    """Return the fault for an error code; ``in_body`` once an answer had begun. Curl's words name no path."""
    if code in _DROPPED and words.startswith("chunk"):  # curl has one code for a lost connection and for broken chunks
        reason = "protocol"
    elif code in _DROPPED and in_body:
        reason = "truncated"
    else:
        reason = _CODES.get(code, "protocol")
    return ImageFault(reason, f"{host}: {words or f'curl error {code}'}")


def contained(error: Exception, code: str, host: str) -> ImageFault:
    """Return what an exception that one image caused means for it: its own reason, or ``code``.

    Raises what is our own machine's: a full disk, too many open files, no memory.
    """
    if isinstance(error, ImageFault):
        return error
    if isinstance(error, ImageSysError | OSError | MemoryError):
        raise error
    log.error("%s: one of its images ends in an exception", host, exc_info=error)
    return ImageFault(code, f"{host}: {type(error).__name__}")
