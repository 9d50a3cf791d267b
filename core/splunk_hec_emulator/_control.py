"""The emulator's own pages: what it saw, what it has indexed, and the switches for tests.

Nothing here is Splunk's. Calls that change state refuse a foreign Origin, so that no web page a developer
happens to look at can reset an emulator on their machine.
"""

import asyncio
import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from splunk_hec_emulator._emulation import Emulation
from splunk_hec_emulator._replies import NOT_FOUND, TEXT_TYPE, WRONG_METHOD, Reply
from splunk_hec_emulator._request import Request
from splunk_hec_emulator.settings import SettingsError

_LINES_TYPE = "application/x-ndjson; charset=UTF-8"
_BLOCK_LINES = 500
_is_number = re.compile("[0-9]{1,17}").fullmatch  # what islice and int take, whatever is added to it
ROUTES = """\
Splunk HTTP Event Collector emulator

POST /services/collector[/event[/1.0]]   events as JSON
POST /services/collector/raw[/1.0]       raw text
POST /services/collector/ack             acknowledgements
GET  /services/collector/health[/1.0]    health
GET  /emulator/stats                     counters
GET  /emulator/events?offset=&limit=&q=  what is durably indexed, one JSON line an event
GET  /emulator/faults                    the fault rules, and how often each has struck
PUT  /emulator/faults                    replace them: a JSON array of rules
POST /emulator/restart?node=N            restart a simulated indexer (the first, if none is named)
POST /emulator/reset                     forget all events, channels and counters
"""


def is_control(path: str) -> bool:
    """Tell whether a path is the emulator's own."""
    return path == "/" or path.startswith("/emulator/")


async def control(request: Request, emulation: Emulation) -> Reply:
    """Answer a request for one of the emulator's own routes."""
    if request.method not in ("GET", "HEAD") and not _is_own_origin(request):
        return _text(403, "state-changing calls from another origin are refused\n")
    emulation.advance()
    match request.method, request.path:
        case (("GET" | "HEAD"), "/"):
            return _text(200, ROUTES)
        case (("GET" | "HEAD"), "/emulator/stats"):
            return _json(emulation.stats())
        case (("GET" | "HEAD"), "/emulator/events"):
            return await _events(request, emulation)
        case (("GET" | "HEAD"), "/emulator/faults"):
            return _json(emulation.faults.describe())
        case "PUT", "/emulator/faults":
            return _set_faults(request, emulation)
        case "POST", "/emulator/restart":
            return _restart(request, emulation)
        case "POST", "/emulator/reset":
            emulation.reset()
            return _json({})
        case _, "/" | "/emulator/stats" | "/emulator/events" | "/emulator/faults":
            return WRONG_METHOD
        case _, "/emulator/restart" | "/emulator/reset":
            return WRONG_METHOD
        case _:
            return NOT_FOUND


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


def _set_faults(request: Request, emulation: Emulation) -> Reply:
    try:
        emulation.set_faults(msgspec.json.decode(request.body, type=list[str | dict[str, Any]]))
    except SettingsError as error:
        return _text(400, f"{error}\n")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _text(400, "the body is not a JSON array of rules\n")
    return _json(emulation.faults.describe())


def _restart(request: Request, emulation: Emulation) -> Reply:
    number = request.query.get("node") or "0"
    if not _is_number(number) or int(number) >= len(emulation.nodes):
        return _text(400, f"there is no node {number[:20]!r}\n")
    emulation.restart(int(number))
    return _json({})


def _is_own_origin(request: Request) -> bool:
    """Accept no Origin at all, or that of our own page under a name that cannot be rebound to us."""
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.netloc == request.headers.get("host") and (host == "localhost" or _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _text(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), content_type=TEXT_TYPE)


def _json(document: Any) -> Reply:
    return Reply(200, json.dumps(document, separators=(",", ":")).encode())
