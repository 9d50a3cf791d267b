"""Tells in the log when an endpoint of Splunk fails for longer, or confirms nothing, and when that is over.

Not for halts, whose lanes tell of them, nor for decisions. Owned by the loop's thread. A failure that the
next attempt mends is no line: with many lanes a busy Splunk would fill the log with them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from splunk_hec._health import Reason

log = logging.getLogger("splunk_hec_kafka")

TELL_AFTER_S = 5.0
_TOLD_HERE = frozenset({"endpoint", "acks_never"})


class Failings:
    """The endpoints that fail now, by reason code and url."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def note(self, reasons: Iterable[Reason]) -> None:
        """These hold now; others are over."""
        holding = {(one.code, one.text.split(": ")[0]): one for one in reasons if one.code in _TOLD_HERE}
        for key, reason in holding.items():
            if key not in self._told and reason.for_s >= TELL_AFTER_S:
                self._told.add(key)
                log.warning("not ready for %.0f s (%s): %s", reason.for_s, reason.code, reason.text)
        for code, url in self._told - holding.keys():
            log.info("%s works again (%s)", url, code)
        self._told &= holding.keys()
