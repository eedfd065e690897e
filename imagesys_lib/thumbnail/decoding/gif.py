"""GIFs: what Pillow needs to decode all that is there of a file that is cut."""

from __future__ import annotations

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B  # GIF89a, appendix A


def with_cut_block(data: bytes) -> bytes:
    """Return a GIF cut within its first frame with the true length of its last block: Pillow decodes whole ones only.

    A block has up to 255 bytes, which of a flat picture may be most of the file.
    """
    at = 13 + _palette(data[10:11])
    while at < len(data) and data[at] != _END:
        kind = data[at]
        if kind == _EXTENSION:
            at += 2
        elif kind == _IMAGE:
            at += 11 + _palette(data[at + 9 : at + 10])
        else:  # noise between blocks
            at += 1
            continue
        while at < len(data) and data[at]:
            following = at + 1 + data[at]
            if following > len(data):
                return data[:at] + bytes((len(data) - at - 1,)) + data[at + 1 :]
            at = following
        if kind == _IMAGE:
            break
        at += 1
    return data


def _palette(flags: bytes) -> int:
    """Return the bytes of the colour table that flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0
