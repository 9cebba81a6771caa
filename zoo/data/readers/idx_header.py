"""The header of an IDX file of bytes, which the fingerprints of datasets contain."""

from __future__ import annotations

import struct

UNSIGNED_BYTE = 8


def header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an array of that shape."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, UNSIGNED_BYTE, len(shape), *shape)
