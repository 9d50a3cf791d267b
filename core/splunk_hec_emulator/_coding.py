"""Content codings: gzip with a bound on what comes out, so that a bomb costs its bound and no more."""

import contextlib
import zlib
from typing import Any, Protocol, cast

_fast: Any = zlib
with contextlib.suppress(ImportError):  # there are platforms without the wheel
    from isal import isal_zlib

    _fast = isal_zlib

_GZIP = 31  # zlib's wbits for a gzip wrapper


class CodingError(Exception):
    """The body is not what its Content-Encoding says, or unfolds too far."""

    def __init__(self, *, is_too_large: bool = False) -> None:
        super().__init__()
        self.is_too_large = is_too_large


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = 0) -> bytes: ...


def gunzip(data: bytes, max_bytes: int = 1 << 62, *, takes_prefix: bool = False) -> bytes:
    """Decompress all members of a gzip body.

    Args:
        data: the compressed body.
        max_bytes: how much may come out.
        takes_prefix: return what a truncated body holds, instead of refusing it.

    Raises:
        CodingError: it is not gzip, is cut short, or holds more than max_bytes.
    """
    parts: list[bytes] = []
    room = max_bytes
    while data:
        member = cast("_Decompressor", _fast.decompressobj(_GZIP))
        try:
            part = member.decompress(data, min(room + 1, (1 << 63) - 1))
        except (zlib.error, _fast.error):
            raise CodingError from None
        room -= len(part)
        parts.append(part)
        if room < 0:
            raise CodingError(is_too_large=True)
        if not member.eof:
            if takes_prefix:
                break
            raise CodingError
        data = member.unused_data
    return b"".join(parts) if len(parts) != 1 else parts[0]
