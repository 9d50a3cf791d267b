"""The logger that is given to librdkafka: what it says, without saying the same thing fifty times a second.

While a broker is down, each client tells of each attempt to reach it, once as a log line and once as an error
event. Here one line in half a minute comes through, with the number of those that did not.
Not for our own lines. Non-obvious: a filter of a logger does not see the records of its children, so this
logger must be handed to the clients itself.
"""

from __future__ import annotations

import logging
import re

AGAIN_AFTER_S = 30.0
_VARYING = re.compile(
    r"^kafka: |^\w+ \[[^\]]*\] (\[thrd:[^\]]*\]: )?|\(after \d+ms in state \w+\)|, \d+ identical.*$"
)


class Repeats(logging.Filter):
    """Drops a line that was let through less than half a minute ago, whoever said it. Any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}
        self._dropped: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may be logged; one that may after others were dropped says how many."""
        text = record.getMessage()
        key = _VARYING.sub("", text).strip()
        if record.created - self._last.get(key, float("-inf")) < AGAIN_AFTER_S:
            self._dropped[key] = self._dropped.get(key, 0) + 1
            return False
        self._last[key] = record.created
        dropped = self._dropped.pop(key, 0)
        if dropped:
            record.msg, record.args = f"{text} (and {dropped} times more since then)", None
        return True


librdkafka_log = logging.getLogger("splunk_hec_kafka.librdkafka")
librdkafka_log.addFilter(Repeats())
