"""Posts: what is taken of a body, what is refused, and which ack id the reply carries.

A body is judged without touching any state; only then, in one step without an await, is it taken: another
request or a restart comes before or after it, never between. Objects before a bad one are taken (a prefix),
which measured replies confirm with an ackId on the 400; whether other refusals do the same is a setting.
"""

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import NamedTuple

from splunk_hec_emulator._counts import Counts, refused
from splunk_hec_emulator._envelope import Grammar
from splunk_hec_emulator._node import Fate, Node
from splunk_hec_emulator._parse import Parsed, parse
from splunk_hec_emulator._replies import Reply, hec
from splunk_hec_emulator._request import Request
from splunk_hec_emulator._store import Post, raw_events
from splunk_hec_emulator.faults import Rule
from splunk_hec_emulator.settings import Settings, Token

_OFFLOADED_BYTES = 4_000_000  # longer bodies are parsed in a thread, so that others are answered meanwhile
_BUSY = (9, 26, 27)
_FATES = {"ack-never": Fate.UNTOLD, "lose-after-200": Fate.LOST}
_CAPACITY = {"busy": 9, "throttle": 26, "near-capacity": 24}


class Moment(NamedTuple):
    """When and where a request is served, and what strikes it."""

    node: Node
    now: float
    rule: Rule | None
    faults: frozenset[str] = frozenset()  # health: the names of all rules that strike, not of the first alone


@dataclass(frozen=True, slots=True)
class Draft:
    """A judged post that is not taken yet."""

    request: Request
    token: Token
    decoded: bytes
    parsed: Parsed
    is_raw: bool
    capacity_code: int  # 0; 9, 26, 27: refuse; 24, 25: accept and warn
    limit: int | None  # the object at which the queue is full


class Intake:
    """Takes posts. Touched by the server's loop only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def post(
        self, request: Request, token: Token, body: bytes, moment: Moment, counts: Counts, *, is_raw: bool
    ) -> Reply:
        """Judge a decoded body, take what it deserves and answer it."""
        rule = moment.rule
        limit = rule.index if rule is not None and rule.name in ("busy", "throttle") else None
        capacity_code = self._capacity_code(request, moment)
        if is_raw:
            parsed = self._parse_raw(request, token, body)
        else:
            arguments = body, self._grammar(request, token), limit
            is_long = len(body) > _OFFLOADED_BYTES
            parsed = await asyncio.to_thread(parse, *arguments) if is_long else parse(*arguments)
        draft = Draft(request, token, body, parsed, is_raw, capacity_code, limit)
        return self._take(draft, moment, counts)

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

    def _capacity_code(self, request: Request, moment: Moment) -> int:
        """Return what a fault or the limits on acks demand, in the codes this release has."""
        has_codes = self._settings.has_capacity_codes
        if moment.rule is not None and moment.rule.name in _CAPACITY:
            return _CAPACITY[moment.rule.name]
        if moment.rule is not None and moment.rule.name == "queue-full":
            return 26 if has_codes else 9
        code = moment.node.acks.capacity_code(request.guid, moment.now) if request.guid else 0
        if has_codes:
            return code
        return 9 if code == 27 else 0

    def _take(self, draft: Draft, moment: Moment, counts: Counts) -> Reply:
        parsed, code, limit = draft.parsed, draft.capacity_code, draft.limit
        if code in _BUSY and limit is None:
            return self._refuse(draft, moment, counts, code, None, taken=0)
        if code in _BUSY and (parsed.is_cut or draft.is_raw or limit == 0):
            return self._refuse(draft, moment, counts, code, limit, taken=0 if draft.is_raw else parsed.taken)
        if parsed.code:
            return self._refuse(draft, moment, counts, parsed.code, self._number(parsed), taken=parsed.taken)
        ack_id = self._accept(draft, moment, counts, has_ack=bool(draft.request.guid))
        if moment.rule is not None and moment.rule.name == "error500":
            return hec(8)
        is_near = code in (24, 25)
        is_told = not is_near or self._settings.near_capacity_has_ack_id
        return hec(code if is_near else 0, ack_id=ack_id if is_told else None)

    def _number(self, parsed: Parsed) -> int | None:
        """Return the number a refusal names: the object's, counted from 1 for code 7 (measured)."""
        match parsed.code:
            case 5:
                return None
            case 7:
                return parsed.taken + self._settings.incorrect_index_base
            case 15 if not self._settings.fields_error_has_number:
                return None
            case _:
                return parsed.taken

    def _refuse(
        self, draft: Draft, moment: Moment, counts: Counts, code: int, number: int | None, *, taken: int
    ) -> Reply:
        """Refuse a post, keeping the `taken` objects that were read before the refusal."""
        settings, guid = self._settings, draft.request.guid
        ack_id = None
        if taken:
            way = settings.busy_prefix_ack if code in _BUSY else settings.refusal_prefix_ack
            issued = self._accept(draft, moment, counts, has_ack=bool(guid) and way != "none")
            ack_id = issued if way == "told" else None
        elif guid and self._consumes_id(code):
            moment.node.acks.burn(guid, moment.now)
        counts.events_refused += code not in (5, *_BUSY)
        reply = retry_after(hec(code, number, ack_id), moment.rule)
        return refused(draft.request, reply, "queue" if code in _BUSY else "body", taken)

    def _consumes_id(self, code: int) -> bool:
        if code == 5:
            return self._settings.empty_post_consumes_id
        return self._settings.busy_consumes_id if code in _BUSY else self._settings.refusal_consumes_id

    def _accept(self, draft: Draft, moment: Moment, counts: Counts, *, has_ack: bool) -> int | None:
        rule = moment.rule
        fate = _FATES.get(rule.name, Fate.INDEXED) if rule is not None else Fate.INDEXED
        post = self._as_post(draft, moment.node.number)
        counts.events_accepted += post.count
        counts.acks_issued += has_ack
        return moment.node.accept(post, moment.now, has_ack=has_ack, fate=fate)

    def _as_post(self, draft: Draft, node: int) -> Post:
        request, token, query = draft.request, draft.token, draft.request.query
        is_as_sent = draft.parsed.body is None
        stays_gzip = (
            is_as_sent and draft.decoded is not request.body and self._settings.truncated_gzip == "html"
        )
        body = draft.decoded if draft.parsed.body is None else draft.parsed.body
        return Post(
            request=request.number,
            node=node,
            channel=request.guid or None,
            ack_id=None,
            body=request.body if stays_gzip else body,
            is_gzip=stays_gzip,
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


def retry_after(reply: Reply, rule: Rule | None) -> Reply:
    """Add the Retry-After of a throttle rule: seconds, or a date so many seconds ahead of the reply."""
    text = rule.argument.partition("/")[0] if rule is not None and rule.name == "throttle" else ""
    if not text:
        return reply
    if text.startswith("date+"):
        text = formatdate(time.time() + float(text[5:]), usegmt=True)
    return reply.with_header("Retry-After", text)
