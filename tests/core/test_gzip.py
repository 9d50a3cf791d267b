"""Bodies are compressed by either library into what any gzip reader opens."""

from __future__ import annotations

import gzip
import importlib.util
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from splunk_hec import _gzip

if TYPE_CHECKING:
    from types import ModuleType

BODY = b'{"event":"a line of a log, much like the one before it"}\n' * 500


def _without_isal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "isal", None)
    spec = importlib.util.find_spec("splunk_hec._gzip")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["fast", "small"])
@pytest.mark.parametrize("has_isal", [True, False])
@pytest.mark.parametrize("body", [b"", b"x", BODY])
def test_round_trip(name: str, has_isal: bool, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever library is there, gzip itself reads what we wrote, and so do we."""
    module = _gzip if has_isal else _without_isal(monkeypatch)
    codec = module.codec_for(name)
    assert codec is not None
    assert codec.encoding == "gzip"
    packed = codec.compress(body)
    assert gzip.decompress(packed) == body
    assert codec.decompress(packed) == body
    assert len(packed) < max(len(body), 64)


def test_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without isal the fast codec is zlib's level 1, with it it is isal's."""
    pytest.importorskip("isal")
    assert _without_isal(monkeypatch).Fast().compress(BODY) == zlib.compress(BODY, 1, wbits=31)
    assert _gzip.Fast().compress(BODY) != zlib.compress(BODY, 1, wbits=31)


def test_same_bytes() -> None:
    """The same body makes the same bytes at any time: the header carries no time stamp."""
    for name in ("fast", "small"):
        codec = _gzip.codec_for(name)
        assert codec is not None
        assert codec.compress(BODY)[4:8] == b"\0\0\0\0"


def test_off() -> None:
    """`off` has no codec."""
    assert _gzip.codec_for("off") is None


def test_reply_within_limit() -> None:
    """A compressed reply of exactly the longest length is opened."""
    assert _gzip.open_reply(gzip.compress(BODY), len(BODY)) == BODY


def test_bomb() -> None:
    """A small reply that would fill the memory is opened only far enough to see that it is too long."""
    assert len(_gzip.open_reply(gzip.compress(b"0" * 50_000_000), 1000)) == 1001


@pytest.mark.parametrize("damaged", [b"no gzip at all", gzip.compress(BODY)[:-9], b""])
def test_damaged_reply(damaged: bytes) -> None:
    """What is not a whole gzip member is refused, never half of it returned."""
    with pytest.raises(ValueError, match="gzip"):
        _gzip.open_reply(damaged, len(BODY))
