"""Content codings: gzip with a bound on what comes out, so that a bomb costs its bound and no more."""

import contextlib
import zlib
from typing import Any, Protocol, cast

_fast: Any = zlib
with contextlib.suppress(ImportError):  # there are platforms without the wheel
    from isal import isal_zlib

    _fast = isal_zlib

_GZIP = 31  # zlib's wbits for a gzip wrapper
_WINDOW_BYTES = 4_096
"""First piece of a member that is unpacked: what follows a member in its piece is copied, so that a body of
thousands of tiny members, handed over whole, would be copied thousands of times."""


class CodingError(Exception):
    """The body is not what its Content-Encoding says, or unfolds too far."""

    def __init__(self, *, is_too_large: bool = False) -> None:
        super().__init__()
        self.is_too_large = is_too_large


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes | memoryview, max_length: int = 0) -> bytes: ...


def gunzip(data: bytes, max_bytes: int = 1 << 62, *, takes_prefix: bool = False) -> bytes:
    """Decompress all members of a gzip body.

    Args:
        data: the compressed body.
        max_bytes: how much may come out.
        takes_prefix: return what a truncated body holds, instead of refusing it.

    Raises:
        CodingError: it is not gzip, is cut short, or holds more than max_bytes.
    """
    content = bytearray()
    view = memoryview(data)
    while view:
        member = cast("_Decompressor", _fast.decompressobj(_GZIP))
        window = _WINDOW_BYTES
        while view and not member.eof:
            piece, view = view[:window], view[window:]
            try:
                content += member.decompress(piece, min(max_bytes - len(content) + 1, (1 << 63) - 1))
            except (zlib.error, _fast.error):
                raise CodingError from None
            if len(content) > max_bytes:
                raise CodingError(is_too_large=True)
            window *= 2
        if member.eof:
            view = memoryview(data)[len(data) - len(view) - len(member.unused_data) :]
        elif not takes_prefix:
            raise CodingError
    return bytes(content)
