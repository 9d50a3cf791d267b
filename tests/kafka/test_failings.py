"""The log tells when Splunk fails for longer, and when that is over; not each failure of each lane."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from splunk_hec._health import Reason
from splunk_hec_kafka.failings import TELL_AFTER_S, Failings

if TYPE_CHECKING:
    import pytest


def test_a_lasting_failure_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One when it has lasted, whatever its text becomes, and one when it is over; a short one is none."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    failings = Failings()
    failings.note([Reason("endpoint", "https://s:8088: HTTP 503", TELL_AFTER_S - 1)])
    failings.note([])
    assert caplog.messages == []
    for for_s, text in ((TELL_AFTER_S, "HTTP 503"), (TELL_AFTER_S + 1, "Server is busy")):
        failings.note([Reason("endpoint", f"https://s:8088: {text}", for_s)])
    failings.note([Reason("acks_never", "https://s:8088: confirms none", 400)])
    failings.note([])
    assert caplog.messages == [
        "not ready for 5 s (endpoint): https://s:8088: HTTP 503",
        "not ready for 400 s (acks_never): https://s:8088: confirms none",
        "https://s:8088 works again (endpoint)",
        "https://s:8088 works again (acks_never)",
    ]


def test_a_halt_is_told_by_its_lanes(caplog: pytest.LogCaptureFixture) -> None:
    """What others tell is not told twice."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    Failings().note([Reason("invalid_token", "https://s:8088: Invalid token", 60)])
    assert caplog.messages == []
