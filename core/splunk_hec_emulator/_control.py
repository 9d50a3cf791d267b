"""The emulator's own pages: what it saw, what it has indexed, and the switches for tests.

Nothing here is Splunk's. Calls that change state or show a token refuse a foreign Origin, and all of them a
Host that a stranger could make resolve to us, so that no web page a developer happens to look at can reset
or read an emulator on their machine.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from splunk_hec_emulator._assets import asset
from splunk_hec_emulator._browse import MAX_ROWS, browse
from splunk_hec_emulator._emulation import Emulation
from splunk_hec_emulator._origin import is_own_origin, is_safe_host
from splunk_hec_emulator._replies import NOT_FOUND, TEXT_TYPE, WRONG_METHOD, Reply
from splunk_hec_emulator._request import Request
from splunk_hec_emulator.settings import SettingsError

_LINES_TYPE = "application/x-ndjson; charset=UTF-8"
_EVENTS_TYPE = "text/event-stream; charset=UTF-8"
_UNSTORED = (("Cache-Control", "no-store"),)
_ASSETS = "/emulator/page/"
_BLOCK_LINES = 500
_ROWS = 50
_is_number = re.compile("[0-9]{1,17}").fullmatch  # what islice and int take, whatever is added to it
ROUTES = """\
Splunk HTTP Event Collector emulator

POST /services/collector[/event[/1.0]]   events as JSON
POST /services/collector/raw[/1.0]       raw text
POST /services/collector/ack             acknowledgements
GET  /services/collector/health[/1.0]    health
GET  /                                   the page, for browsers
GET  /emulator/                          this list
GET  /emulator/stats                     counters
GET  /emulator/events?offset=&limit=&q=  what is durably indexed, one JSON line an event
GET  /emulator/faults                    the fault rules, and how often each has struck
PUT  /emulator/faults                    replace them: a JSON array of rules
POST /emulator/restart?node=N            restart a simulated indexer (the first, if none is named)
GET  /emulator/rows?before=&limit=&q=    the page's table: the newest events, the text of each cut short
GET  /emulator/live                      what the page shows, as server-sent events
POST /emulator/tokens/reveal?number=N    the value of the N-th token, counted from 0
POST /emulator/reset                     forget all events, channels and counters
"""


def is_control(path: str) -> bool:
    """Tell whether a path is the emulator's own."""
    return path == "/" or path.startswith("/emulator/")


async def control(request: Request, emulation: Emulation) -> Reply:
    """Answer a request for one of the emulator's own routes."""
    if not is_safe_host(request.headers, emulation.settings.listen):
        return _text(403, "this Host is refused: use an address, localhost, or the name given to --listen\n")
    if request.method not in ("GET", "HEAD") and not is_own_origin(request.headers):
        return _text(403, "state-changing calls from another origin are refused\n")
    emulation.advance()
    handlers = _HANDLERS.get(request.path)
    if handlers is None and request.path.startswith(_ASSETS):
        return asset(request.path[len(_ASSETS) :]) if request.method in ("GET", "HEAD") else WRONG_METHOD
    if handlers is None:
        return NOT_FOUND
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    return WRONG_METHOD if handler is None else await handler(request, emulation)


async def _page(_request: Request, _emulation: Emulation) -> Reply:
    return asset("index.html")


async def _routes(_request: Request, _emulation: Emulation) -> Reply:
    return _text(200, ROUTES)


async def _stats(_request: Request, emulation: Emulation) -> Reply:
    return _json(emulation.stats())


async def _live(request: Request, emulation: Emulation) -> Reply:
    if "user-agent" not in request.headers:
        return _text(400, "events go on without end, which HTTP/1.0 cannot tell: send a User-Agent\n")
    live = emulation.live.stream() if request.method == "GET" else None
    return Reply(200, content_type=_EVENTS_TYPE, headers=_UNSTORED, live=live)


async def _rows(request: Request, emulation: Emulation) -> Reply:
    before, most = (request.query.get(name) or "" for name in ("before", "limit"))
    if not _is_number(before or "0") or not _is_number(most or "1") or not 1 <= int(most or 1) <= MAX_ROWS:
        return _text(400, f"before is a whole number from 0 up, limit one from 1 to {MAX_ROWS}\n")
    found = await asyncio.to_thread(
        browse,
        emulation.store.posts,
        int(before) if before else None,
        int(most or _ROWS),
        request.query.get("q", ""),
    )
    return Reply(200, msgspec.json.encode(found), headers=_UNSTORED)


async def _reveal(request: Request, emulation: Emulation) -> Reply:
    number, tokens = request.query.get("number") or "", emulation.judge.tokens
    if not _is_number(number) or int(number) >= len(tokens):
        return _text(400, "number is that of a token, counted from 0\n")
    reply = _json({"value": tokens[int(number)].value})
    return replace(reply, headers=_UNSTORED)


async def _events(request: Request, emulation: Emulation) -> Reply:
    first, most = (request.query.get(name) or "" for name in ("offset", "limit"))
    if not _is_number(first or "0") or not _is_number(most or "0"):
        return _text(400, "offset and limit are whole numbers from 0 up\n")
    offset, limit = int(first or 0), int(most) if most else None
    containing = request.query.get("q", "")
    total = ("X-Total-Count", str(await asyncio.to_thread(emulation.store.count, containing)))
    found = emulation.store.read(offset, limit, containing)
    return Reply(200, content_type=_LINES_TYPE, headers=(total,), stream=_blocks(found))


def _blocks(found: Iterator[bytes]) -> Iterator[bytes]:
    """Join lines to blocks: one write an event would cost more than making it."""
    block: list[bytes] = []
    for line in found:
        block.append(line)
        if len(block) >= _BLOCK_LINES:
            yield b"\n".join(block) + b"\n"
            block.clear()
    if block:
        yield b"\n".join(block) + b"\n"


async def _faults(_request: Request, emulation: Emulation) -> Reply:
    return _json(emulation.faults.describe())


async def _set_faults(request: Request, emulation: Emulation) -> Reply:
    try:
        emulation.set_faults(msgspec.json.decode(request.body, type=list[str | dict[str, Any]]))
    except SettingsError as error:
        return _text(400, f"{error}\n")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _text(400, "the body is not a JSON array of rules\n")
    return _json(emulation.faults.describe())


async def _restart(request: Request, emulation: Emulation) -> Reply:
    number = request.query.get("node") or "0"
    if not _is_number(number) or int(number) >= len(emulation.nodes):
        return _text(400, f"there is no node {number[:20]!r}\n")
    emulation.restart(int(number))
    return _json({})


async def _reset(_request: Request, emulation: Emulation) -> Reply:
    emulation.reset()
    return _json({})


def _text(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), content_type=TEXT_TYPE)


def _json(document: Any) -> Reply:
    return Reply(200, json.dumps(document, separators=(",", ":")).encode())


_Handler = Callable[[Request, Emulation], Awaitable[Reply]]
_HANDLERS: dict[str, dict[str, _Handler]] = {
    "/": {"GET": _page},
    "/emulator/": {"GET": _routes},
    "/emulator/stats": {"GET": _stats},
    "/emulator/events": {"GET": _events},
    "/emulator/rows": {"GET": _rows},
    "/emulator/live": {"GET": _live},
    "/emulator/faults": {"GET": _faults, "PUT": _set_faults},
    "/emulator/tokens/reveal": {"POST": _reveal},
    "/emulator/restart": {"POST": _restart},
    "/emulator/reset": {"POST": _reset},
}
