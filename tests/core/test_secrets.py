"""The token is in requests and nowhere else."""

from __future__ import annotations

import io
import logging
import pickle
import traceback
from typing import TYPE_CHECKING

import msgspec
import pytest
from hec_desk import Desk, accept_each

from splunk_hec import ConfigError, Event, Halted, HecClient, HecConfig
from splunk_hec.config import TokenSource
from splunk_hec.testing import Reply, ScriptedTransport, TransportError, refused

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "5ecre7-70ken-0f-0ur5"
LOST = TransportError("reset", "reset", maybe_sent=True)


def everything_shown(desk: Desk) -> str:
    """All that a person, a log or a debugger gets to see of a client."""
    hec = desk.hec
    parts: list[object] = [
        hec, hec.config, hec.config.public(), hec.queue, hec.budget, hec.health(), hec._wire, hec._default,
        hec._encoder, desk.wire.requests, desk.counts, *hec._crew.workers, hec.poll(),
    ]  # fmt: skip
    return " ".join(repr(part) + str(part) for part in parts)


def test_token_is_in_no_repr_log_or_outcome(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happens, refusals and lost replies included, nothing that is shown holds the token."""
    with caplog.at_level(logging.DEBUG):
        desk = Desk(
            LOST, refused(403, 4, "Invalid token"), refused(400, 5), Reply(503, b"<html>"), token=SECRET
        )
        desk.reply(refused(400, 6, "bad", number=0), accept_each, accept_each)
        for number in range(3):
            desk.hec.submit(Event("a", ref=number))
        for _ in range(20):
            desk.later(10)
        shown = everything_shown(desk)
        desk.hec.abort()
    assert any(SECRET in request.headers["Authorization"] for request in desk.wire.requests)
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert "Authorization" not in shown


def test_token_is_in_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Exceptions of ours, and the log of a lane that failed, do not carry it, nor do config errors."""

    def broken(_request: object) -> Reply:
        raise RuntimeError("a fault of our own")

    desk = Desk(broken, token=SECRET, halt_patience_s=0)
    desk.hec.submit(Event("a"))
    assert "a fault of our own" in caplog.text
    assert SECRET not in caplog.text
    desk = Desk(refused(403, 4, "Invalid token"), token=SECRET, halt_patience_s=0)
    desk.hec.submit(Event("a"))
    with pytest.raises(Halted) as halted:
        desk.hec.submit(Event("a"))
    with pytest.raises(ConfigError) as wrong:
        HecConfig(url="nonsense", token=SECRET)
    for error in (halted.value, wrong.value):
        assert SECRET not in "".join(traceback.format_exception(error))


def test_token_is_not_pickled() -> None:
    """A literal token refuses to be pickled; a reference travels as the reference."""
    config = HecConfig(url="http://a", token=SECRET)
    with pytest.raises(TypeError, match="literal token"):
        pickle.dumps(config)
    with pytest.raises(TypeError):
        pickle.dumps(HecClient(config, transport_factory=ScriptedTransport))
    reference = HecConfig(url="http://a", token="env:NAME", lanes=3)
    assert pickle.loads(pickle.dumps(reference)) == reference


def test_reference_is_shown_and_its_secret_is_not(tmp_path: Path) -> None:
    """env: and file: are shown as written, which helps; what they lead to is not."""
    path = tmp_path / "token"
    path.write_text(SECRET)
    desk = Desk(accept_each, token=f"file:{path}")
    desk.hec.submit(Event("a"))
    assert SECRET in desk.wire.requests[0].headers["Authorization"]
    shown = everything_shown(desk)
    assert SECRET not in shown
    assert f"file:{path}" in repr(desk.hec.config)
    source = TokenSource(f"file:{path}")
    source()
    assert SECRET not in repr(source)
    assert repr(TokenSource(SECRET)) == "TokenSource(***)"


def test_proxy_password_is_hidden() -> None:
    """The password of a proxy is as secret as the token."""
    config = HecConfig(url="http://a", token="t", proxy=f"http://user:{SECRET}@proxy:3128")
    assert SECRET not in repr(config)
    assert SECRET not in str(config.public())
    with pytest.raises(ConfigError) as wrong:
        HecConfig(url=f"ftp://user:{SECRET}@a", token="t")
    assert SECRET not in str(wrong.value)


def test_printed_config_shows_every_setting_but_the_secret() -> None:
    """The repr is complete, so that a bug report says what was set."""
    config = HecConfig(url="http://a", token=SECRET)
    out = io.StringIO()
    print(config, file=out)
    assert all(f"{field.name}=" in out.getvalue() for field in msgspec.structs.fields(HecConfig))
    assert "token='***'" in out.getvalue()
