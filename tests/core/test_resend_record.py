"""The debug record of a resend: who finds an event twice finds its cause there, and no payload or ref."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest
from hec_desk import Desk

from splunk_hec import Event
from splunk_hec.testing import TransportError, accepted, acks

if TYPE_CHECKING:
    from collections.abc import Iterable

LOST = TransportError("reset", "reset", maybe_sent=True)


class Offsets:
    """A manifest that knows where its events came from."""

    def __init__(self, offsets: list[int]) -> None:
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: slice) -> Offsets:
        return Offsets(self._offsets[index])

    @classmethod
    def join(cls, manifests: Iterable[Offsets]) -> Offsets:
        """One of many."""
        return cls([offset for manifest in manifests for offset in manifest._offsets])

    def places(self) -> str:
        """For the record."""
        return f"logs/0@{self._offsets[0]}-{self._offsets[-1]}"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of resends."""
    return [one.getMessage() for one in caplog.records if "sent again" in one.getMessage()]


def test_a_resend_says_which_records_it_repeats(caplog: pytest.LogCaptureFixture) -> None:
    """The manifest tells where the events came from; with the cause that explains every second copy."""
    caplog.set_level(logging.DEBUG, "splunk_hec")
    desk = Desk(LOST, accepted(0), batch_max_events=2)
    lines = [b'{"event":"a"}', b'{"event":"b"}']
    desk.hec.stream().submit_lines(lines, Offsets([7, 8]), held_bytes=0, timeout_s=0)
    desk.later(2)
    assert messages(caplog) == [
        "batch 1 (2 events, attempt 1, ackId none) is sent again: unknown_reply logs/0@7-8"
    ]
    assert desk.counts["resends/unknown_reply"] == 1


def test_refs_of_a_caller_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A ref may be anything, a password too."""
    caplog.set_level(logging.DEBUG, "splunk_hec")
    desk = Desk(LOST, accepted(0))
    desk.hec.submit(Event("a line", ref="secret"))
    desk.later(2)
    assert messages(caplog) == ["batch 1 (1 events, attempt 1, ackId none) is sent again: unknown_reply"]


def test_how_a_batch_ended_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """At debug: the ackId and attempt that were acknowledged, how long after, by whom, and the records."""
    caplog.set_level(logging.DEBUG, "splunk_hec")
    desk = Desk(accepted(5), acks({5: True}), batch_max_events=2)
    stream = desk.hec.stream()
    stream.submit_lines([b'{"event":"a"}', b'{"event":"b"}'], Offsets([7, 8]), held_bytes=0, timeout_s=0)
    for _ in range(3):
        desk.later(1)
    (told,) = [one for one in caplog.records if "delivered" in one.getMessage()]
    assert told.levelno == logging.DEBUG
    assert re.fullmatch(
        r"batch 1 \(2 events, attempt 1, ackId 5\) delivered after [\d.]+ s by http://test logs/0@7-8",
        told.getMessage(),
    )


def test_what_nobody_judged_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Events that are given up are told with their reason though nobody looks at debug lines."""
    caplog.set_level(logging.INFO, "splunk_hec")
    desk = Desk(*[LOST] * 20, give_up_after_s=5)
    desk.hec.submit(Event("a line", ref="secret"))
    for _ in range(8):
        desk.later(1)
    (told,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert "1 events, attempt" in told
    assert "gave_up: gave_up (reset" in told
    assert "secret" not in told


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_batches_of_a_failed_lane_are_counted_and_told(level: int, caplog: pytest.LogCaptureFixture) -> None:
    """A lane that fails hands on what may have been taken: one count a batch, whatever is logged."""
    caplog.set_level(level, "splunk_hec")
    desk = Desk(accepted(0), batch_max_events=1)
    desk.hec.submit(Event("a line"))
    [worker] = desk.hec._crew.workers
    desk.hec._crew._on_fault(worker, ValueError("test"))
    assert desk.counts["resends/unknown_reply"] == 1
    assert len(messages(caplog)) == (level == logging.DEBUG)
