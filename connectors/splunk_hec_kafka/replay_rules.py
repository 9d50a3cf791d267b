"""What may be replayed, and as what: the rules of `dlq replay`.

Pure. Not for sending (`replay_to_topic`, `replay_to_splunk`). Guarantees: a record is replayed at most once
in one run, however many letters it has; what was replayed twice and came back is not replayed again.

    a letter   judge → "" (replay it) | foreign | superseded | spent | duplicate
    foreign    no letter of ours: nothing says where its record came from
    superseded it was replayed, and came back as a later letter: that one counts
    spent      replayed twice already: whatever was mended did not mend it
    duplicate  another letter of this run is of the very same record

Non-obvious: letters stay in their topic when they are replayed, so the counter alone would not end a loop:
the first letter, with its 0, would be there for ever. The header `hec.replay_of`, which a later letter keeps,
tells which letters are history.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    Message,
)

from splunk_hec_kafka.dead_letter_record import REPLAYS
from splunk_hec_kafka.stored_letter import REPLAY_OF

if TYPE_CHECKING:
    from splunk_hec_kafka.headers import Headers
    from splunk_hec_kafka.stored_letter import StoredLetter

MOST_REPLAYS = 2
Left = Literal["foreign", "superseded", "spent", "duplicate", "no_topic", "too_old"]
"""Why a letter is left alone; the last two are the destination's."""
LEFT_TEXTS: dict[Left, str] = {
    "foreign": "no letter of this sink: nothing says where its record came from",
    "superseded": "was replayed before and came back as a later letter, which counts instead",
    "spent": f"was replayed {MOST_REPLAYS} times and refused each time; mend the record at its source",
    "duplicate": "is of a record that this run has replayed already",
    "no_topic": "its topic does not exist any more; use --to splunk",
    "too_old": "is older than the retention of its topic, which would delete it unread; use --to splunk",
}


class ReplayRules:
    """Judges letters; knows all of them from a first reading. One thread's."""

    def __init__(self) -> None:
        self._superseded: set[tuple[str, bytes]] = set()
        self._done: set[bytes] = set()

    def note(self, letter: StoredLetter) -> None:
        """A letter is there; to be called for each one before any is judged."""
        if letter.replay_of:
            # With the content, or any producer could make history of letters that it never wrote.
            self._superseded.add((letter.replay_of, _digest(letter.key, letter.value)))

    def judge(self, letter: StoredLetter) -> Left | None:
        """Why a letter is left alone; None if it may be replayed, and then counts as replayed."""
        if letter.origin is None or not letter.reason or letter.value is None:
            return "foreign"
        if (letter.name, _digest(letter.key, letter.value)) in self._superseded:
            return "superseded"
        if letter.replays >= MOST_REPLAYS:
            return "spent"
        # A topic made anew has other records at the same offsets.
        digest = _digest(letter.origin, letter.record_ms, letter.key, letter.value)
        if digest in self._done:
            return "duplicate"
        self._done.add(digest)
        return None


def _digest(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def restored(letter: StoredLetter) -> Message:
    """The record as it was consumed, with its replays counted up.

    Args:
        letter: One that `judge` lets pass.

    Returns:
        Key, value, headers, place and timestamp of the original, and two headers of ours behind them.
    """
    assert letter.origin is not None
    topic, partition, offset = letter.origin
    headers: Headers = [
        *letter.headers,
        (REPLAYS, str(letter.replays + 1).encode()),
        (REPLAY_OF, letter.name.encode()),
    ]
    is_appended = letter.context.get("hec.record.timestamp_type") == "LogAppendTime"
    kind = TIMESTAMP_LOG_APPEND_TIME if is_appended else TIMESTAMP_CREATE_TIME
    ms = letter.record_ms
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        key=letter.key,
        value=letter.value,
        headers=headers,
        timestamp=(TIMESTAMP_NOT_AVAILABLE, 0) if ms is None else (kind, ms),
    )
