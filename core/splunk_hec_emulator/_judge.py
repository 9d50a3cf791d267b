"""What HEC answers: the order of checks, health, and what an ack poll is told. Posts are `_intake`'s.

The order is that of hec-protocol section 1.4: route, method, faults that stand before HEC, token, the ack
endpoint's own check, channel, content coding, body.
"""

import re
from collections.abc import Iterable

import msgspec

from splunk_hec_emulator._auth import authorize
from splunk_hec_emulator._coding import CodingError, gunzip
from splunk_hec_emulator._counts import Counts, refused
from splunk_hec_emulator._intake import Intake, Moment, retry_after
from splunk_hec_emulator._replies import (
    BAD_GZIP,
    NOT_FOUND,
    UNSUPPORTED_CODING,
    WRONG_METHOD,
    Reply,
    hec,
    html,
    too_large,
)
from splunk_hec_emulator._request import Request, is_guid
from splunk_hec_emulator.faults import Rule
from splunk_hec_emulator.settings import Settings, Token

_BODILESS = (204, 205, 304)
_is_text_id = re.compile("[0-9]{1,19}").fullmatch


class _Poll(msgspec.Struct):
    """The body of a poll; other keys are ignored."""

    acks: list[int | str]


class Judge:
    """Answers requests for HEC's own routes. Touched by the server's loop only."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._intake = Intake(settings)
        self.counts = Counts()
        self.set_tokens(settings.tokens, now)

    def set_tokens(self, tokens: Iterable[Token], now: float) -> None:
        """Replace all tokens from this monotonic time on."""
        self._tokens = {token.value: token for token in tokens}
        self._tokens_since = now

    @property
    def tokens(self) -> list[Token]:
        """The tokens in the order they were given."""
        return list(self._tokens.values())

    def clear(self) -> None:
        """Start all counters from 0."""
        self.counts = Counts()

    async def answer(self, request: Request, moment: Moment, kind: str) -> Reply:
        """Answer a request for a route of this kind; its body has been read whole."""
        if early := preliminary(request.method, kind):
            return early
        if moment.rule is not None and (struck := _struck(moment.rule, kind)):
            return refused(request, struck, moment.rule.name)
        if kind == "health":
            return self._health(request, moment)
        token = self._authorized(request, moment, kind)
        if isinstance(token, Reply):
            return refused(request, token, "authorization")
        body = self._decoded(request)
        if isinstance(body, Reply):
            return refused(request, body, "coding")
        self.counts.bytes_decoded += len(body)
        match kind:
            case "ack":
                return self._poll(request, moment, body)
            case "mint" | "s2s":  # there is nothing behind these two, and a HEC client never uses them
                return refused(request, hec(5 if kind == "mint" else 6), kind)
            case _:
                return await self._intake.post(
                    request, token, body, moment, self.counts, is_raw=kind == "raw"
                )

    def _authorized(self, request: Request, moment: Moment, kind: str) -> Token | Reply:
        """Find the token and, where it has acks, the channel; notes both in the request."""
        age_s = moment.now - self._tokens_since
        is_strict = self._settings.scheme_is_case_sensitive
        token = authorize(request, self._tokens, age_s, scheme_is_case_sensitive=is_strict)
        if isinstance(token, Reply):
            return token
        request.token = token
        if not token.ack:
            return hec(14) if kind == "ack" else token
        guid = request.channel(query_wins=self._settings.channel_query_wins)
        if not guid:
            return hec(self._settings.missing_channel_code)
        if not is_guid(guid):
            return hec(11)
        request.guid = guid if self._settings.channel_is_case_sensitive else guid.upper()
        return token

    def _decoded(self, request: Request) -> bytes | Reply:
        coding = request.headers.get("content-encoding", "").strip().lower()
        if coding in ("", "identity"):
            return request.body
        if coding != "gzip":
            return UNSUPPORTED_CODING
        limit = min(self._settings.max_decoded_bytes, self._settings.max_content_length)
        try:
            body = gunzip(request.body, limit, takes_prefix=self._settings.truncated_gzip == "prefix")
        except CodingError as error:
            return too_large(limit + 1, limit) if error.is_too_large else BAD_GZIP
        return BAD_GZIP if request.body and not body and self._settings.empty_gzip_is_html else body

    def _health(self, request: Request, moment: Moment) -> Reply:
        """Answer by the queues alone: health never validates a token (measured, against the docs)."""
        is_full = "queue-full" in moment.faults
        has_no_acks = request.query.get("ack") == "true" and "acks-down" in moment.faults
        if is_full or has_no_acks:
            return hec(20 if is_full and has_no_acks else 18 if is_full else 19)
        if self._settings.health_checks_token and "token" in request.query:
            token = self._tokens.get(request.query["token"])
            if token is None or token.is_disabled:
                return hec(21 if token is None else 22)
        return hec(17)

    def _poll(self, request: Request, moment: Moment, body: bytes) -> Reply:
        settings = self._settings
        if not body.strip():
            return refused(request, hec(settings.ack_empty_body_code), "ack")
        ids = _asked_ids(body, accepts_text=settings.ack_string_ids_are_accepted)
        if ids is None or (not ids and settings.empty_acks_are_refused):
            return refused(request, hec(settings.ack_bad_body_code), "ack")
        told = moment.node.acks.poll(request.guid, moment.now, ids)
        self.counts.acks_told += sum(told.values())
        pairs = ",".join(f'"{ack_id}":{"true" if is_true else "false"}' for ack_id, is_true in told.items())
        return Reply(200, f'{{"acks":{{{pairs}}}}}'.encode())


def preliminary(method: str, kind: str) -> Reply | None:
    """Answer what needs neither token nor body: unknown paths, OPTIONS and wrong methods."""
    if not kind:
        return NOT_FOUND
    methods = ("GET", "HEAD", "OPTIONS") if kind == "health" else ("POST", "OPTIONS")
    if method == "OPTIONS":
        return Reply(200, headers=(("Allow", ",".join(methods)),))
    return None if method in methods else WRONG_METHOD


def _struck(rule: Rule, kind: str) -> Reply | None:
    """Return the reply of the faults that answer before any check."""
    match rule.name:
        case "error500" if rule.argument != "taken":
            return hec(8)
        case "shutting-down":
            return hec(23)
        case "acks-down" if kind == "ack":
            return hec(9)
        case "busy" | "throttle" if kind not in ("event", "raw"):
            return retry_after(hec(9 if rule.name == "busy" else 27), rule)
        case "empty200":
            return Reply(200)
        case "html200":
            return html(200, "Sign in", "Sign in", "Your session has ended.")
        case "html503":
            return html(503, "503 Service Unavailable", "Service Unavailable", "No server is available.")
        case "status" | "ack-error":
            return _with_status(int(rule.argument), is_splunks=rule.name == "ack-error")
        case _:
            return None


def _with_status(status: int, *, is_splunks: bool) -> Reply:
    """Return a page with this status, or what Splunk itself would say with it."""
    codes = {400: 6, 401: 2, 403: 4, 404: 404, 429: 27, 500: 8, 503: 9}
    if is_splunks and status in codes:
        return hec(codes[status])
    if status in _BODILESS:
        return Reply(status)
    return html(status, f"{status} Error", "Error", "The request could not be served.")


def _asked_ids(body: bytes, *, accepts_text: bool) -> list[int] | None:
    """Read the ids of a poll; None if the body is not ``{"acks":[…]}`` with numbers in it."""
    try:
        asked = msgspec.json.decode(body, type=_Poll).acks
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if any(isinstance(item, str) and not (accepts_text and _is_text_id(item)) for item in asked):
        return None
    return [int(item) for item in asked]
