"""Ask an endpoint whether it would take our events, without indexing anything.

An empty POST without a channel, then an ack query on a fresh one. Not `GET /health`: that answers 200
whatever the token (measured on 8.2.4, 10.4.3 and Cloud), so it proves nothing about ours.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec

from splunk_hec import _protocol as protocol
from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from splunk_hec._worker import Wire

_CHANNEL_CODES = (10, 28)


class Probe(msgspec.Struct, frozen=True):
    """What an endpoint says of our deployment.

    Attributes:
        token_ok: The endpoint was reached and takes events with this token.
        acks: The token has indexer acknowledgement; None if it could not be learnt.
        channel_required: Posts need a channel; None if it could not be learnt.
        reason: `ok`, or why not: `invalid_token`, `unreachable`, …
        url: The endpoint asked.
        status: HTTP status of the deciding reply; 0 if there was none.
        code: HEC's code in it, if it had one.
        text: HEC's text, or what went wrong.
    """

    token_ok: bool
    acks: bool | None
    channel_required: bool | None
    reason: str
    url: str
    status: int = 0
    code: int | None = None
    text: str = ""


def probe(url: str, wire: Wire, transport: protocol.Transport) -> Probe:
    """Probe one endpoint. Never raises for what the endpoint does."""
    channel = str(uuid.uuid4()).upper()
    try:
        reply = transport.send(wire.probe(url, ""))
        answer = protocol.read(reply)
        channel_required = answer.is_splunk and answer.code in _CHANNEL_CODES
        if channel_required:
            reply = transport.send(wire.probe(url, channel))
            answer = protocol.read(reply)
        verdict = protocol.judge_probe(reply)
        if verdict is not None:
            reason = verdict.reason if isinstance(verdict, protocol.Halt) else "unreachable"
            if isinstance(verdict, protocol.Busy):
                reason = "busy"
            elif isinstance(verdict, protocol.Unknown) and verdict.is_strange:
                reason = "not_hec"
            return Probe(False, None, None, reason, url, answer.status, answer.code, answer.text)
        acks = protocol.learn_acks(transport.send(wire.acks(url, [0], channel)))
    except ConfigError as error:
        return Probe(False, None, None, "token_unreadable", url, text=str(error))
    return Probe(True, acks, channel_required, "ok", url, answer.status, answer.code, answer.text)
