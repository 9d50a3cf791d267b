"""What becomes of a chunk of records when it is encoded. Values only; `records` makes them."""

from __future__ import annotations

from typing import Literal

import msgspec
from confluent_kafka import Message

from splunk_hec._block import Block
from splunk_hec_kafka.originals import Consumed, Originals
from splunk_hec_kafka.routes import Destination

Stage = Literal["DECODE", "PUT"]


class Send(msgspec.Struct, frozen=True):
    """Lines for one destination and, on the raw endpoint, one query; line i is that of original i."""

    to: Destination
    query: str
    lines: Block
    originals: Originals


class Refusal(msgspec.Struct, frozen=True):
    """A record that can never be indexed as it is.

    Attributes:
        message: The record.
        reason: A dead-letter reason, e.g. `undecodable`, `too_large`.
        text: What is wrong, for people; at most a few characters of the record.
        stage: `DECODE`: its value is not what the route says; `PUT`: HEC would refuse the event.
    """

    message: Consumed
    reason: str
    text: str
    stage: Stage


class Skip(msgspec.Struct, frozen=True):
    """A record that settles without being sent: a `tombstone` (null value), or its route says `drop`."""

    message: Message
    reason: Literal["tombstone", "drop"]


class Encoded(msgspec.Struct, frozen=True):
    """What became of a chunk of records: each is in exactly one of these.

    Attributes:
        sends: Lines to send.
        refusals: Records that can never be indexed.
        skips: Records that are not to be sent.
        undecoded: Records whose schema is not known yet, since the registry is away; in their order.
        fault: Why it is away; empty if it is not.
    """

    sends: list[Send]
    refusals: list[Refusal]
    skips: list[Skip]
    undecoded: list[Message] = []
    fault: str = ""
