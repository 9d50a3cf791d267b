"""What HEC answers: the order of checks, what is taken of a post, and what an ack poll is told.

The order is that of hec-protocol section 1.4. A post is judged without touching any state; only then, in one
step without an await, is it taken: another request or a restart comes before or after it, never between.
"""

import asyncio
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from splunk_hec_emulator._auth import authorize
from splunk_hec_emulator._coding import CodingError, gunzip
from splunk_hec_emulator._envelope import Grammar
from splunk_hec_emulator._node import Fate, Node
from splunk_hec_emulator._parse import Parsed, parse
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
from splunk_hec_emulator._store import Post, raw_events
from splunk_hec_emulator.faults import Rule
from splunk_hec_emulator.settings import Settings, Token

_log = logging.getLogger("splunk_hec_emulator")
_OFFLOADED_BYTES = 4_000_000  # longer bodies are parsed in a thread, so that others are answered meanwhile
_FATES = {"ack-never": Fate.UNTOLD, "lose-after-200": Fate.LOST}


@dataclass(slots=True)
class Counts:
    """What /emulator/stats reports and the store does not know."""

    requests: int = 0
    replies: dict[str, int] = field(default_factory=dict)
    events_accepted: int = 0
    events_refused: int = 0
    acks_issued: int = 0
    acks_told: int = 0
    bytes_received: int = 0
    bytes_decoded: int = 0

    def reply(self, reply: Reply) -> None:
        """Count a reply by its status and HEC code (none for HTML and the answers of /ack)."""
        key = f"{reply.status}/{'' if reply.code is None else reply.code}"
        self.replies[key] = self.replies.get(key, 0) + 1


class Moment(NamedTuple):
    """When and where a request is served."""

    node: Node
    now: float
    rule: Rule | None
    faults: frozenset[str] = frozenset()  # health: the names of all rules that strike, not of the first alone


@dataclass(frozen=True, slots=True)
class _Draft:
    """A judged post that is not taken yet."""

    request: Request
    token: Token
    channel: str | None
    decoded: bytes
    parsed: Parsed
    is_raw: bool
    busy_code: int


class Judge:
    """Answers requests for HEC's own routes. Touched by the server's loop only."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self.counts = Counts()
        self.set_tokens(settings.tokens, now)

    def set_tokens(self, tokens: Iterable[Token], now: float) -> None:
        """Replace all tokens from this monotonic time on."""
        self._tokens = {token.value: token for token in tokens}
        self._tokens_since = now

    def clear(self) -> None:
        """Start all counters from 0."""
        self.counts = Counts()

    async def answer(self, request: Request, moment: Moment, kind: str) -> Reply:
        """Answer a request for a route of this kind; its body has been read whole."""
        if early := preliminary(request.method, kind):
            return early
        if moment.rule is not None and (struck := _struck(moment.rule, kind)):
            return self._refused(request, "", "", struck, 0, moment.rule.name)
        if kind == "health":
            return self._health(request, moment)
        age_s = moment.now - self._tokens_since
        strict = self._settings.scheme_is_case_sensitive
        token = authorize(request, self._tokens, age_s, scheme_is_case_sensitive=strict)
        if isinstance(token, Reply):
            return self._refused(request, "", "", token, 0, "authorization")
        if kind == "ack" and not token.ack:
            return self._refused(request, token.name, "", hec(14), 0, "ack")
        channel = self._channel(request, token)
        if isinstance(channel, Reply):
            return self._refused(request, token.name, "", channel, 0, "channel")
        body = self._decoded(request)
        if isinstance(body, Reply):
            return self._refused(request, token.name, channel or "", body, 0, "coding")
        self.counts.bytes_decoded += len(body)
        match kind:
            case "ack":
                return self._poll(request, moment, channel or "", body)
            case "mint":
                return self._refused(request, token.name, channel or "", hec(5), 0, "mint")
            case "s2s":
                return self._refused(request, token.name, channel or "", hec(6), 0, "s2s")
            case _:
                return await self._post(request, moment, token, channel, body, kind)

    # -- checks ------------------------------------------------------------------------------------------

    def _channel(self, request: Request, token: Token) -> str | None | Reply:
        if not token.ack:
            return None
        guid = request.channel(query_wins=self._settings.channel_query_wins)
        if not guid:
            return hec(self._settings.missing_channel_code)
        if not is_guid(guid):
            return hec(11)
        return guid if self._settings.channel_is_case_sensitive else guid.upper()

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
        asks_acks = request.query.get("ack") == "true"
        is_full = "queue-full" in moment.faults
        has_no_acks = asks_acks and "acks-down" in moment.faults
        if is_full or has_no_acks:
            return hec(20 if is_full and has_no_acks else 18 if is_full else 19)
        token = self._tokens.get(request.query["token"]) if "token" in request.query else None
        if self._settings.health_checks_token and "token" in request.query:
            if token is None:
                return hec(21)
            if token.is_disabled:
                return hec(22)
        return hec(17)

    # -- posts -------------------------------------------------------------------------------------------

    async def _post(
        self, request: Request, moment: Moment, token: Token, channel: str | None, body: bytes, kind: str
    ) -> Reply:
        limit = moment.rule.index if moment.rule and moment.rule.name in ("busy", "throttle") else None
        busy_code = self._busy_code(moment, channel)
        if kind == "raw":
            parsed = self._parse_raw(request, token, body)
        else:
            arguments = body, self._grammar(request, token), limit
            is_long = len(body) > _OFFLOADED_BYTES
            parsed = await asyncio.to_thread(parse, *arguments) if is_long else parse(*arguments)
        draft = _Draft(request, token, channel, body, parsed, kind == "raw", busy_code)
        return self._taken(draft, moment, limit)

    def _grammar(self, request: Request, token: Token) -> Grammar:
        settings = self._settings
        default = request.query.get("index", "")
        return Grammar(
            indexes=frozenset(token.indexes),
            default_index_is_allowed=not (default and token.indexes) or default in token.indexes,
            max_event_bytes=settings.max_event_bytes,
            accepts_array_body=settings.accepts_array_body,
            has_multi_metrics=settings.has_multi_metrics,
            true_event_is_accepted=settings.true_event_is_accepted,
            duplicate_keys_are_refused=settings.duplicate_keys == "refuse",
            invalid_utf8_is_replaced=settings.invalid_utf8 == "replace",
            nan_is_accepted=settings.nan_is_accepted,
            existing_indexes=frozenset(settings.indexes),
            default_index=default or token.default_index,
            last_chance_index=settings.last_chance_index,
        )

    def _parse_raw(self, request: Request, token: Token, body: bytes) -> Parsed:
        """Judge a raw body: nothing in it can be refused but that it is blank, or its index."""
        if not body.strip():
            return Parsed(0, 0, code=5)
        if not self._grammar(request, token).default_index_is_allowed:
            return Parsed(0, 0, code=7)
        return Parsed(1, len(raw_events(body, is_line_broken=self._settings.raw_line_breaking)))

    def _busy_code(self, moment: Moment, channel: str | None) -> int:
        """Return the code that capacity demands: 0, or 9, 26, 27 to refuse, or 24, 25 to accept and warn."""
        name = moment.rule.name if moment.rule else ""
        has_codes = self._settings.has_capacity_codes
        if name in ("busy", "throttle", "near-capacity"):
            return {"busy": 9, "throttle": 26, "near-capacity": 24}[name]
        if name == "queue-full":
            return 26 if has_codes else 9
        code = moment.node.acks.capacity_code(channel, moment.now) if channel else 0
        return code if has_codes or not code else (9 if code == 27 else 0)

    def _taken(self, draft: _Draft, moment: Moment, limit: int | None) -> Reply:
        """Take what a judged post deserves, and answer it. Nothing here awaits."""
        parsed, busy = draft.parsed, draft.busy_code
        refuses = busy in (9, 26, 27)
        if refuses and limit is None:
            return self._refuse(draft, moment, busy, None, taken=0)
        if refuses and (parsed.is_cut or draft.is_raw or limit == 0):
            return self._refuse(draft, moment, busy, limit, taken=0 if draft.is_raw else parsed.taken)
        if parsed.code:
            return self._refuse(draft, moment, parsed.code, self._number(parsed), taken=parsed.taken)
        ack_id = self._accept(draft, moment, has_ack=draft.channel is not None)
        if moment.rule and moment.rule.name == "error500":
            return hec(8)
        code = busy if busy in (24, 25) else 0
        is_told = code == 0 or self._settings.near_capacity_has_ack_id
        return hec(code, ack_id=ack_id if is_told else None)

    def _number(self, parsed: Parsed) -> int | None:
        match parsed.code:
            case 5:
                return None
            case 7:
                return parsed.taken + self._settings.incorrect_index_base
            case 15 if not self._settings.fields_error_has_number:
                return None
            case _:
                return parsed.taken

    def _refuse(self, draft: _Draft, moment: Moment, code: int, number: int | None, taken: int) -> Reply:
        """Refuse a post, keeping the prefix of `taken` objects that was read before the refusal."""
        settings, channel = self._settings, draft.channel
        is_busy = code in (9, 26, 27)
        ack_id = None
        if taken:
            rule = settings.busy_prefix_ack if is_busy else settings.refusal_prefix_ack
            issued = self._accept(draft, moment, has_ack=channel is not None and rule != "none")
            ack_id = issued if rule == "told" else None
        elif channel and self._consumes_id(code):
            moment.node.acks.burn(channel, moment.now)
        self.counts.events_refused += code not in (5, 9, 26, 27)
        reply = hec(code, number, ack_id)
        if moment.rule and moment.rule.name == "throttle" and moment.rule.argument.partition("/")[0]:
            reply = reply.with_header("Retry-After", moment.rule.argument.partition("/")[0])
        why = "queue" if is_busy else "body"
        return self._refused(draft.request, draft.token.name, channel or "", reply, taken, why)

    def _consumes_id(self, code: int) -> bool:
        settings = self._settings
        if code == 5:
            return settings.empty_post_consumes_id
        return settings.busy_consumes_id if code in (9, 26, 27) else settings.refusal_consumes_id

    def _accept(self, draft: _Draft, moment: Moment, *, has_ack: bool) -> int | None:
        request, token, query = draft.request, draft.token, draft.request.query
        is_as_sent = draft.parsed.body is None
        fate = _FATES.get(moment.rule.name, Fate.INDEXED) if moment.rule else Fate.INDEXED
        post = Post(
            request=request.number,
            node=moment.node.number,
            channel=draft.channel,
            ack_id=None,
            body=request.body if is_as_sent else draft.parsed.body or b"",
            is_gzip=is_as_sent and draft.decoded is not request.body,
            is_raw=draft.is_raw,
            count=draft.parsed.stored,
            index=query.get("index") or token.default_index,
            host=query.get("host") or request.headers.get("host", ""),
            source=query.get("source") or f"http:{token.name}",
            sourcetype=query.get("sourcetype") or "httpevent",
            time=query.get("time", ""),
            received=request.received,
            is_line_broken=draft.is_raw and self._settings.raw_line_breaking,
            is_time_extracted=query.get("auto_extract_timestamp") == "true" and "time" not in query,
        )
        self.counts.events_accepted += post.count
        self.counts.acks_issued += has_ack
        return moment.node.accept(post, moment.now, has_ack=has_ack, fate=fate)

    # -- acks --------------------------------------------------------------------------------------------

    def _poll(self, request: Request, moment: Moment, channel: str, body: bytes) -> Reply:
        settings = self._settings
        if not body.strip():
            return self._refused(request, "", channel, hec(settings.ack_empty_body_code), 0, "ack")
        ids = _asked_ids(body, accepts_text=settings.ack_string_ids_are_accepted)
        if ids is None or (not ids and settings.empty_acks_are_refused):
            return self._refused(request, "", channel, hec(settings.ack_bad_body_code), 0, "ack")
        told = moment.node.acks.poll(channel, moment.now, ids)
        self.counts.acks_told += sum(told.values())
        pairs = ",".join(f'"{ack_id}":{"true" if is_true else "false"}' for ack_id, is_true in told.items())
        return Reply(200, f'{{"acks":{{{pairs}}}}}'.encode())

    def _refused(
        self, request: Request, token_name: str, channel: str, reply: Reply, taken: int, why: str
    ) -> Reply:
        """Log a refusal in splunkd's words, which administrators search for; never the token itself."""
        _log.info(
            "Failed processing http input, token name=%s, channel=%s, source_IP=%s, reply=%s, "
            'events_processed=%d, http_input_body_size=%d, parsing_err="%s"',
            token_name or "n/a",
            channel or "n/a",
            request.peer,
            reply.status if reply.code is None else reply.code,
            taken,
            len(request.body),
            why,
        )
        return reply


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
    return html(status, f"{status} Error", "Error", "The request could not be served.")


def _asked_ids(body: bytes, *, accepts_text: bool) -> list[int] | None:
    """Read the ids of a poll; None if the body is not ``{"acks":[…]}`` with numbers in it."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    asked: Any = document.get("acks") if isinstance(document, dict) else None
    if not isinstance(asked, list):
        return None
    ids: list[int] = []
    for item in asked:
        is_text_id = accepts_text and isinstance(item, str) and re.fullmatch("[0-9]{1,19}", item)
        if not is_text_id and (isinstance(item, bool) or not isinstance(item, int)):
            return None
        ids.append(int(item))
    return ids
