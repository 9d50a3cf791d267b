"""What passes between a lane and the shell that does its I/O: settings in, actions out, effects to carry out.

Values only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from splunk_hec import _protocol as protocol
from splunk_hec._batching import Batch
from splunk_hec._channel import Channel
from splunk_hec.events import OutcomeKind
from splunk_hec.observe import Cause


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane must know. Built from HecConfig by the client.

    Attributes:
        url: The endpoint; for outcomes and logs.
        acks: Acknowledgements decide delivery; False: acceptance does (ids are polled and dropped); None:
            as the token has it, asked before the first POST.
        raw: Bodies are raw text: replies number requests, not events.
        ack_deadline_s: See HecConfig.
        resend_on_ack_timeout: Else such events are settled as unconfirmed.
        give_up_after_s: 0 = never.
        may_leave: There are other endpoints that can take what this one does not.
        posts_per_channel: After so many a fresh channel is used, and the old one only polled; 0 = never.
        configured_indexes: Written in the configuration: refused ones halt instead of rejecting.
    """

    url: str = ""
    acks: bool | None = True
    raw: bool = False
    ack_deadline_s: float = 300.0
    resend_on_ack_timeout: bool = True
    give_up_after_s: float = 0.0
    may_leave: bool = False
    posts_per_channel: int = 0
    configured_indexes: frozenset[str] = frozenset()


class Post(msgspec.Struct, frozen=True):
    """Send this batch on this channel."""

    batch: Batch
    channel: Channel


class PollAcks(msgspec.Struct, frozen=True):
    """Ask for these ids on the channel that issued them."""

    channel: Channel
    ids: list[int]


class Probe(msgspec.Struct, frozen=True):
    """Send an empty POST: it shows whether the deployment is at fault, and touches no index."""

    channel: Channel


class Wait(msgspec.Struct, frozen=True):
    """Nothing may be done before `until`; take no batch."""

    until: float


class Rest(msgspec.Struct, frozen=True):
    """Take a batch from the queue if there is one; otherwise there is nothing to do before `until`."""

    until: float


Action = Post | PollAcks | Probe | Wait | Rest


class Settled(msgspec.Struct, frozen=True):
    """A batch has its outcome. `answer`: the reply that decided, if one did."""

    batch: Batch
    kind: OutcomeKind
    reason: str = ""
    answer: protocol.Answer | None = None
    text: str = ""
    ack_latency_s: float = 0.0
    bad_index: str = ""


class Effects(msgspec.Struct):
    """What the I/O shell must carry out after a step."""

    settled: list[Settled] = msgspec.field(default_factory=list[Settled])
    surrendered: list[Batch] = msgspec.field(default_factory=list[Any])
    resends: list[tuple[Cause, Batch]] = msgspec.field(default_factory=list[Any])
    retired: list[str] = msgspec.field(default_factory=list[str])
    gone: list[str] = msgspec.field(default_factory=list[str])
    notes: list[str] = msgspec.field(default_factory=list[str])


NOTHING = Effects()
"""What most steps have to be carried out; never changed."""


class LaneHealth(msgspec.Struct, frozen=True):
    """How a lane sees its endpoint. What ends in `_since` is in monotonic seconds."""

    halted: str = ""
    halted_text: str = ""
    halted_since: float = 0.0
    failure: str = ""
    failing_since: float = 0.0
    is_confirming: bool = True
    silent_since: float = 0.0
