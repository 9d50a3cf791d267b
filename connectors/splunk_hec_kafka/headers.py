"""`headers_of`: the one way to read a record's headers.

Non-obvious: Kafka header names are bytes on the wire. For a name that is not UTF-8 confluent-kafka returns
a list with a hole *and* sets an exception, which the interpreter's quick call path notices only somewhere
later; asked again, it hands out the list with the hole, which must not be touched (seen with 2.16). So nobody
else calls `Message.headers()`, and here it is called by C code that checks at once. Such headers cannot be
read by this client: they count as absent, and that is logged.
"""

from __future__ import annotations

import logging
from itertools import islice
from operator import methodcaller
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message

    from splunk_hec_kafka.originals import Consumed

Headers = list[tuple[str, str | bytes | None]]
_read = methodcaller("headers")
_log = logging.getLogger("splunk_hec_kafka")


def all_headers(messages: Sequence[Message]) -> list[Headers] | None:
    """`headers_of` each of many records; None if none of them has any."""
    found: list[Headers | None] = []
    while len(found) < len(messages):
        try:
            found.extend(map(_read, islice(messages, len(found), None)))
        except (SystemError, UnicodeDecodeError):  # of the one after those that were found
            found.append(_lost(messages[len(found)]))
    return [one or [] for one in found] if any(found) else None


def headers_of(message: Consumed) -> Headers:
    """A record's headers in order; empty if it has none, or if a name is not UTF-8 (which is logged)."""
    try:
        return cast("Headers", _read(message) or [])
    except (SystemError, UnicodeDecodeError):
        return _lost(message)


def _lost(message: Consumed) -> Headers:
    message.set_headers([])
    _log.warning(
        "the headers of record %s [%s] at offset %s are lost: a header's name is not UTF-8",
        message.topic(),
        message.partition(),
        message.offset(),
    )
    return []
