"""The one thing that is read of EXIF: which way up a picture is."""

from __future__ import annotations

import struct

_ORIENTATION, _SHORT = 0x0112, 3  # EXIF 2.3, 4.6.4
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(exif: bytes | None) -> int:
    """Return the orientation, 1 to 8, that EXIF data (a TIFF structure) give; 1 if they are damaged or do not say.

    As Chromium has it only one short number counts, and neither XMP nor text does.
    """
    if not exif:
        return 1
    order = _ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == _ORIENTATION:
                return value if (kind, values) == (_SHORT, 1) and value in range(1, 9) else 1
    except struct.error:
        pass  # cut
    return 1
