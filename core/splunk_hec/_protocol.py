"""HEC on the wire: requests, replies, and what each reply means (`judge`). Pure: no I/O, no clock.

Not for what to do about a verdict: that is `_lane`. The whole table (sources: `core/DESIGN.md`):

    no byte left                        NotSent     try again later; nothing can have been taken
    200, JSON, code 0 24 25, id as due  Accepted    the only proof of acceptance
    200 code 0 without the id due       Halt        acks_disabled: the token has no acknowledgement
    200 of any other shape              Unknown     empty, cut, HTML; repeated ones halt
    400 codes 6 7 12 13 15, 5           BadEvent    a prefix may be in; one event is at fault
    413                                 TooLarge    halve
    429 503 as Splunk's JSON            Busy        not taken, but for a prefix if a number says so
    429 503 of any other shape          Unknown     some proxy's word about a request it may have passed on
    1-4 10 11 14 16 21 22 28, 401 404
    405 407 415 3xx                     Halt        a fault of the deployment; nothing is rejected
    other 4xx, not Splunk's JSON        Suspect     a proxy or firewall: probe, then halt or bisect
    408 5xx, cut, reset, timed out      Unknown     taken, in part, or not at all

Non-obvious: an ackId can stand in *any* reply (a 400 that took a prefix has one), so `read` extracts it
before and apart from any judgement.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, cast

import msgspec

from splunk_hec.errors import one_line

EVENT_PATH = "/services/collector/event"
RAW_PATH = "/services/collector/raw"
ACK_PATH = "/services/collector/ack"
CHANNEL_HEADER = "X-Splunk-Request-Channel"

ACCEPTED_CODES = frozenset({0, 24, 25})
"""24 and 25 warn of a queue filling up, but the data *was* taken: resending them duplicates (D)."""
NEAR_CAPACITY_CODES = frozenset({24, 25})
BUSY_CODES = frozenset({9, 18, 19, 20, 23, 26, 27})
"""What a 503 or 429 says; the status alone decides."""
NO_DATA, INCORRECT_INDEX, ACK_DISABLED = 5, 7, 14

EVENT_REASONS = {
    NO_DATA: "blank",
    6: "invalid_event",
    INCORRECT_INDEX: "bad_index",
    12: "invalid_event",
    13: "blank",
    15: "bad_fields",
}
"""Codes of a 400 that blame one event → the reason it is rejected with."""

_HALT_CODES = {
    1: "token_disabled",
    2: "token_required",
    3: "invalid_authorization",
    4: "invalid_token",
    10: "channel_missing",
    11: "invalid_channel",
    ACK_DISABLED: "acks_disabled",
    16: "query_token_refused",
    21: "invalid_token",
    22: "token_disabled",
    28: "channel_missing",
}
_HALT_STATUSES = {
    401: "unauthorized",
    404: "not_found",
    405: "method_refused",
    407: "proxy_authentication",
    415: "encoding_refused",
}


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, ready to go. `channel` also names the cookie jar that goes with it."""

    url: str
    path: str
    headers: dict[str, str]
    body: bytes
    channel: str
    deadline_s: float

    def __repr__(self) -> str:
        return f"<Request POST {self.url}{self.path} {len(self.body)} B channel {self.channel[:8]}>"


class Reply(msgspec.Struct, frozen=True):
    """What came back, read to the end (1 MiB at most). `retry_after` is the header as sent, or ''."""

    status: int
    body: bytes
    retry_after: str = ""


class TransportError(msgspec.Struct, frozen=True):
    """No usable reply. `maybe_sent` is False only if no byte of the request can have left."""

    kind: str
    text: str
    maybe_sent: bool


class Transport(Protocol):
    """Sends requests, one at a time, for one lane. Not thread-safe: its worker owns it."""

    def send(self, request: Request) -> Reply | TransportError:
        """Send and wait, at most `request.deadline_s` seconds in all; never raises for the network."""
        ...

    def forget(self, channel: str) -> None:
        """The channel is gone: drop its cookies."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """A reply taken apart. `is_splunk`: its body is HEC's JSON (an object with an integer `code`)."""

    status: int
    is_splunk: bool = False
    code: int | None = None
    text: str = ""
    number: int | None = None
    ack_id: int | None = None
    retry_after: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """Queued by Splunk; indexed only once `ack_id` is told true."""

    ack_id: int | None
    is_near_capacity: bool


class BadEvent(msgspec.Struct, frozen=True):
    """One event is at fault; `number` is Splunk's, uncorrected, None if it named none."""

    code: int
    number: int | None


class Busy(msgspec.Struct, frozen=True):
    """Not now. With `number` N, the events before N were taken."""

    number: int | None
    retry_after: str


class TooLarge(msgspec.Struct, frozen=True):
    """The request was refused for its size."""


class Halt(msgspec.Struct, frozen=True):
    """The deployment is at fault (token, channel, path …): hold everything and say so."""

    reason: str


class Suspect(msgspec.Struct, frozen=True):
    """Refused by something that is not Splunk: a probe must tell whether it minds us or the events."""


class Unknown(msgspec.Struct, frozen=True):
    """Taken, taken in part, or not: nobody can know. `is_strange`: a 200 that proves nothing."""

    why: str
    is_strange: bool = False


class NotSent(msgspec.Struct, frozen=True):
    """No byte of the request left."""

    why: str


Verdict = Accepted | BadEvent | Busy | TooLarge | Halt | Suspect | Unknown | NotSent


def read(reply: Reply | TransportError) -> Answer:
    """Take a reply apart without judging it."""
    if isinstance(reply, TransportError):
        return Answer(0, text=reply.text)
    document = _json_object(reply.body)
    code = document.get("code") if document is not None else None
    if document is None or not _is_int(code):
        return Answer(reply.status, text=f"HTTP {reply.status}", retry_after=reply.retry_after)
    number, ack_id, text = (document.get(key) for key in ("invalid-event-number", "ackId", "text"))
    return Answer(
        reply.status,
        is_splunk=True,
        code=code,
        text=one_line(text[:200]) if isinstance(text, str) else "",
        number=_count(number),
        ack_id=_count(ack_id),
        retry_after=reply.retry_after,
    )


def judge(reply: Reply | TransportError, answer: Answer, *, needs_ack_id: bool) -> Verdict:
    """What the reply to a POST of events means (the table above).

    Args:
        reply: As it came from the transport.
        answer: `read(reply)`.
        needs_ack_id: Acknowledgements are on, so acceptance without an ackId cannot be confirmed.
    """
    if isinstance(reply, TransportError):
        return Unknown(reply.text) if reply.maybe_sent else NotSent(reply.text)
    status = answer.status
    if status == 200:
        return _judge_200(answer, needs_ack_id=needs_ack_id)
    if status == 413:
        return TooLarge()
    if status in (429, 503):
        return Busy(answer.number, answer.retry_after) if answer.is_splunk else Unknown(f"HTTP {status}")
    if 300 <= status < 400:
        return Halt("redirected")
    if status < 400 or status >= 500 or status == 408:
        return Unknown(f"HTTP {status} {answer.text}".rstrip() if answer.is_splunk else answer.text)
    return _judge_4xx(answer)


def _judge_200(answer: Answer, *, needs_ack_id: bool) -> Verdict:
    if not answer.is_splunk or answer.code not in ACCEPTED_CODES:
        return Unknown("a 200 that does not say that the events were accepted", is_strange=True)
    is_near_capacity = answer.code in NEAR_CAPACITY_CODES
    if needs_ack_id and answer.ack_id is None:
        if is_near_capacity:
            return Unknown(f"code {answer.code} without an ackId", is_strange=True)
        return Halt("acks_disabled")
    return Accepted(answer.ack_id, is_near_capacity)


def _judge_4xx(answer: Answer) -> Verdict:
    if answer.is_splunk and answer.code is not None:
        if answer.code in EVENT_REASONS and answer.status == 400:
            return BadEvent(answer.code, None if answer.code == NO_DATA else answer.number)
        if answer.code in _HALT_CODES:
            return Halt(_HALT_CODES[answer.code])
        return Halt(_HALT_STATUSES.get(answer.status, f"http_{answer.status}_code_{answer.code}"))
    if answer.status in _HALT_STATUSES:
        return Halt(_HALT_STATUSES[answer.status])
    return Suspect()


def judge_probe(reply: Reply | TransportError) -> Verdict | None:
    """What the reply to an empty POST means: None if the endpoint takes events from us.

    An empty body is refused with code 5 after token and channel were checked and before anything is
    indexed (M 10.4.2), so it is the one request that proves the deployment without touching the index.
    """
    answer = read(reply)
    verdict = judge(reply, answer, needs_ack_id=False)
    if isinstance(verdict, BadEvent) and verdict.code == NO_DATA:
        return None
    if isinstance(verdict, Suspect):
        return Halt(f"refused_with_{answer.status}")
    if isinstance(verdict, Accepted | BadEvent | TooLarge):
        return Unknown(f"an empty request was answered with {answer.status} {answer.text}", is_strange=True)
    return verdict


class Acks(msgspec.Struct, frozen=True):
    """A well-formed answer to an ack query: the ids told true. All others asked are not (yet) true."""

    true_ids: frozenset[int]


class AcksLost(msgspec.Struct, frozen=True):
    """The answer may have told a `true`, once and for ever, and we could not read it."""

    why: str


class AcksRefused(msgspec.Struct, frozen=True):
    """The question was not answered; nothing is resolved by that, and nothing was told."""

    why: str
    halt: Halt | None = None


def judge_acks(reply: Reply | TransportError, asked: frozenset[int]) -> Acks | AcksLost | AcksRefused:
    """What the reply to an ack query means.

    Args:
        reply: As it came from the transport.
        asked: The ids in the query. An id that the answer does not mention counts as false.
    """
    if isinstance(reply, TransportError):
        return AcksLost(reply.text) if reply.maybe_sent else AcksRefused(reply.text)
    if reply.status == 200:
        document = _json_object(reply.body)
        acks = document.get("acks") if document is not None else None
        if not isinstance(acks, dict):
            return AcksLost("a 200 without acks")
        told = cast("dict[str, Any]", acks)
        return Acks(frozenset(ack_id for ack_id in asked if told.get(str(ack_id)) is True))
    answer = read(reply)
    if answer.status >= 500 and not answer.is_splunk:
        return AcksLost(answer.text)
    verdict = judge(reply, answer, needs_ack_id=False)
    return AcksRefused(f"HTTP {answer.status} {answer.text}", verdict if isinstance(verdict, Halt) else None)


def learn_acks(reply: Reply | TransportError) -> bool | None:
    """Whether the token has acknowledgements, by the reply to a query for an id that nobody was given.

    Splunk answers code 14 before it looks at the channel (measured), and false for an unknown id.
    """
    answer = read(reply)
    if answer.is_splunk and answer.code == ACK_DISABLED:
        return False
    return True if isinstance(judge_acks(reply, frozenset({0})), Acks) else None


def table() -> str:
    """HEC's codes and what each leads to, as a Markdown table: generated, so that the page cannot lie."""
    rows = dict.fromkeys(ACCEPTED_CODES, "accepted: wait for its acknowledgement")
    rows |= dict.fromkeys(NEAR_CAPACITY_CODES, "accepted, and slow down; never sent again")
    rows |= {code: f"one event is rejected: `{reason}`" for code, reason in EVENT_REASONS.items()}
    rows |= {code: f"halt and hold: `{reason}`" for code, reason in _HALT_CODES.items()}
    rows |= dict.fromkeys(BUSY_CODES, "busy: backoff, sent again; nothing is rejected")
    rows[8] = "unknown: sent again on a fresh channel, counted"
    lines = [f"| {code} | {rows[code]} |" for code in sorted(rows)]
    return "\n".join(["| HEC code | leads to |", "|---|---|", *lines])


def ack_query(ids: list[int]) -> bytes:
    """The body of an ack query."""
    return msgspec.json.encode({"acks": ids})


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> int | None:
    return value if _is_int(value) and value >= 0 else None
