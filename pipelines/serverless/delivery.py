"""What both handlers share: one client a process, one stream an invocation, all confirmed at its return.

Not for work beyond the invocation: nothing is on its way between two of them, and the client has no thread,
so a frozen process loses nothing. A connection that was cut meanwhile is opened again.
"""

from __future__ import annotations

import functools
import gzip
import time
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING

from splunk_hec import Event, HecClient, HecConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOOK_S = 1.0


@functools.cache
def client() -> HecClient:
    """The process's client, made by the first invocation: SPLUNK_HEC_URL, SPLUNK_HEC_TOKEN and others."""
    return HecClient(HecConfig.from_env(threads=False, request_deadline_s=10, halt_patience_s=3))


def deliver(events: Iterable[Event], timeout_s: float) -> int:
    """Send all, and wait until each is confirmed.

    Args:
        events: Read as they are sent: memory is bounded by `in_flight_max_bytes`.
        timeout_s: For all of it.

    Returns:
        How many there were.

    Raises:
        HecError: Some event is not confirmed: invalid, rejected, or not in time. Those before it may be
            indexed already; whoever calls again sends them a second time.
    """
    deadline = time.monotonic() + timeout_s
    stream = client().stream()
    count = 0
    try:
        for event in events:
            stream.submit(event, max(0.0, deadline - time.monotonic()))
            count += 1
        while stream.flush(min(LOOK_S, max(0.0, deadline - time.monotonic()))):
            client().raise_if_halted()
            if time.monotonic() >= deadline:
                break
        stream.close(0)
    finally:
        stream.abort()  # of what is left: nothing is sent after the return
    return count


def lines_of(body: IO[bytes], source: str) -> Iterator[Event]:
    """Each line of an object as an event, as it is read; unpacked if it is named .gz; no blank ones."""
    with body, gzip.open(body) if source.endswith(".gz") else nullcontext(body) as lines:
        for number, line in enumerate(lines):
            text = line.rstrip(b"\r\n")
            if text.strip():
                yield Event(text, source=source, ref=number)
