"""What librdkafka says, said once."""

from __future__ import annotations

import logging

from splunk_hec_kafka.chatter import AGAIN_AFTER_S, Repeats

REFUSED = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"


def said(text: str, at: float) -> logging.LogRecord:
    """A log record of that time."""
    record = logging.LogRecord("kafka", logging.WARNING, __file__, 1, text, None, None)
    record.created = at
    return record


def test_a_broker_that_is_down_is_told_once_in_half_a_minute() -> None:
    """The same fault from several clients, as line and as event, is one line, until half a minute is over."""
    repeats = Repeats()
    first = said(
        f"FAIL [producer-1] [thrd:127.0.0.1:1/bootstrap]: {REFUSED} (after 0ms in state CONNECT)", 100.0
    )
    assert repeats.filter(first)
    assert not repeats.filter(
        said(f"FAIL [consumer-2] [thrd:x]: {REFUSED} (after 2ms in state CONNECT)", 100.1)
    )
    assert not repeats.filter(said(f"kafka: {REFUSED} (after 1ms in state CONNECT)", 101.0))
    later = said(f"kafka: {REFUSED} (after 1ms in state CONNECT)", 100.0 + AGAIN_AFTER_S)
    assert repeats.filter(later)
    assert later.getMessage().endswith("(and 2 times more since then)")


def test_different_faults_are_all_told() -> None:
    """Holding back one line hides no other."""
    repeats = Repeats()
    assert repeats.filter(said(f"kafka: {REFUSED}", 1.0))
    assert repeats.filter(said("kafka: 1/1 brokers are down", 1.0))
    assert repeats.filter(said("kafka: 127.0.0.1:2/bootstrap: Connection refused", 1.0))
