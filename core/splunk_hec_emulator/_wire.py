"""One connection: HTTP by h11, and every way of breaking a reply that needs the raw socket.

h11 parses and keeps the state of the exchange; bytes are written here, since a fault may cut them anywhere.
A client that sends no User-Agent is answered with HTTP/1.0 (Splunk's forceHttp10=auto). No time-outs: a slow
client costs its connection and what it has sent, never more than `max_content_length` bytes.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from email.utils import formatdate
from http import HTTPStatus

import h11

from splunk_hec_emulator._control import control, is_control
from splunk_hec_emulator._emulation import Emulation
from splunk_hec_emulator._intake import Moment
from splunk_hec_emulator._replies import Reply, hec, malformed, too_large
from splunk_hec_emulator._request import Request, parse_target

COOKIE = "hec_emulator_node"
_find_cookie = re.compile(rf"(?:^|;)\s*{COOKIE}=([0-9]{{1,9}})\s*(?:;|$)").search
_READ_BYTES = 262_144
_LINGER_S = 2.0  # how long the rest of a refused body is read, so that a reset does not swallow the reply
_DRIP_S = 0.15
_MANGLING = frozenset({"cut-status", "cut-headers", "cut-body", "drip"})
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


class _Gone(Exception):  # noqa: N818 - control flow of this module
    """The connection is to be given up without another word."""


class _Refused(Exception):  # noqa: N818 - control flow of this module
    """The request is answered before it was read whole, and the connection closed."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Buffered:
    """Bytes of bodies being received on all connections of a server."""

    def __init__(self) -> None:
        self.total = 0


class Connection:
    """Serves one client until either side closes. Owned by its own task on the server's loop."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        emulation: Emulation,
        buffered: Buffered,
        on_change: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._emulation = emulation
        self._buffered = buffered
        self._on_change = on_change
        self._http = h11.Connection(h11.SERVER)
        peer = writer.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._is_http10 = False

    async def serve(self) -> None:
        """Answer requests until the connection ends."""
        try:
            while await self._exchange():
                pass
        except (_Gone, OSError):
            pass
        except h11.RemoteProtocolError as error:
            with contextlib.suppress(OSError):  # ENOTCONN, of a client that has gone, is no ConnectionError
                await self._refuse(malformed(error.error_status_hint, "Bad Request"))
        except _Refused as refused:
            with contextlib.suppress(OSError):
                await self._refuse(refused.reply)
        finally:
            self._writer.close()

    # -- reading -----------------------------------------------------------------------------------------

    async def _exchange(self) -> bool:
        """Serve one request; return whether another one may follow."""
        head = await self._event()
        assert isinstance(head, h11.Request)  # the end of the connection raises _Gone
        request = self._request(head)
        if is_control(request.path):
            request.body = await self._body(request)
            return await self._send(await control(request, self._emulation), request)
        return await self._collect(request)

    async def _collect(self, request: Request) -> bool:
        """Serve a request for Splunk's routes, with whatever fault it meets."""
        emulation = self._emulation
        emulation.judge.counts.requests += 1
        kind = request.kind(trailing_slash_is_route=emulation.settings.trailing_slash_is_route)
        node, cookie = emulation.place(_cookie(request))
        moment = emulation.meet(request.method, kind, node)
        name = moment.rule.name if moment.rule else ""
        if name:
            self._on_change()
        if name == "reset-before" or (name == "restart" and moment.rule and moment.rule.argument):
            self._reset()
        request.body = await self._body(request)
        if name == "hang":
            await self._hang(moment)
        reply = await emulation.answer(request, moment, kind)
        self._on_change()
        emulation.judge.counts.reply(reply)
        if cookie:
            reply = reply.with_header("Set-Cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly")
        if name in ("reset-after", "ack-lost"):
            self._reset()
        if name in _MANGLING:
            await self._mangled(reply, moment)
        return await self._send(reply, request)

    async def _event(self) -> object:
        """Return h11's next event, reading as needed."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise _Gone  # between requests or in the middle of one: there is nobody to answer
            self._http.receive_data(data)
        return event

    def _request(self, head: h11.Request) -> Request:
        path, query = parse_target(head.target.decode("latin-1"))
        headers: dict[str, str] = {}
        for name, value in head.headers:
            headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
        self._is_http10 = "user-agent" not in headers
        return Request(head.method.decode("ascii"), path, query, headers, peer=self._peer)

    async def _body(self, request: Request) -> bytes:
        """Read the body, unless it is or becomes longer than the limit."""
        limit = self._emulation.settings.max_content_length
        declared = int(request.headers.get("content-length") or 0)
        if declared > limit:
            raise _Refused(too_large(declared, limit))
        body = bytearray()  # not a list of what arrives: a byte each would cost forty
        length = 0
        try:
            while isinstance(event := await self._event(), h11.Data):
                body += event.data
                length += len(event.data)
                self._buffered.total += len(event.data)
                if length > limit:
                    raise _Refused(too_large(length, limit))
                if self._buffered.total > self._emulation.settings.max_buffered_bytes:
                    raise _Refused(hec(9))
        finally:
            self._buffered.total -= length
        self._emulation.judge.counts.bytes_received += length
        return bytes(body)

    # -- writing -----------------------------------------------------------------------------------------

    def _write(self, data: bytes | None) -> None:
        if data and not self._writer.is_closing():
            self._writer.write(data)

    def _head(self, reply: Reply, length: int | None) -> bytes:
        """Return the reply's head as bytes, and bring h11's state along."""
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", reply.content_type),
            ("X-Content-Type-Options", "nosniff"),
            *([("Content-Length", str(length))] if length is not None else []),
            ("Vary", "Authorization"),
            ("Connection", "close" if self._is_http10 else "Keep-Alive"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("Server", "Splunkd"),
            *reply.headers,
        ]
        reason = _reason(reply.status)
        head = self._http.send(h11.Response(status_code=reply.status, headers=headers, reason=reason)) or b""
        return b"HTTP/1.0" + head[8:] if self._is_http10 else head

    async def _send(self, reply: Reply, request: Request) -> bool:
        """Write a whole reply; return whether the connection stays open."""
        if reply.live is not None:
            return await self._send_live(reply, reply.live)
        if reply.stream is not None and not self._is_http10 and request.method != "HEAD":
            self._write(self._head(reply, None))
            for block in reply.stream:
                self._write(self._http.send(h11.Data(data=block)))
                await self._writer.drain()
                await asyncio.sleep(0)  # drain does not yield while the client keeps up
        else:
            body = reply.body if reply.stream is None else b"".join(reply.stream)
            head = self._head(reply, len(body))
            content = b"" if request.method == "HEAD" else self._http.send(h11.Data(data=body)) or b""
            self._write(head + content)
        self._write(self._http.send(h11.EndOfMessage()))
        await self._writer.drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _send_live(self, reply: Reply, live: AsyncGenerator[bytes]) -> bool:
        """Write pieces as they come, until the client leaves; the connection then ends."""
        async with contextlib.aclosing(live):
            self._write(self._head(reply, None))
            async for piece in live:
                self._write(self._http.send(h11.Data(data=piece)))
                await self._writer.drain()
                if self._writer.is_closing():
                    break
        return False

    async def _refuse(self, reply: Reply) -> None:
        """Answer what was not read whole, close our side, and read on for a moment."""
        self._emulation.judge.counts.reply(reply)
        self._on_change()
        self._write(_plain_head(reply.with_header("Connection", "close")) + reply.body)
        await self._writer.drain()
        if self._writer.can_write_eof():  # TLS cannot
            self._writer.write_eof()
        await self._read_away(_LINGER_S)

    async def _read_away(self, seconds: float | None) -> None:
        """Read until the client closes, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._reader.read(_READ_BYTES):
                    pass

    # -- faults ------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Send a TCP reset; raises _Gone."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()
        raise _Gone

    async def _hang(self, moment: Moment) -> None:
        """Answer nothing until the client goes, or for as long as the rule says."""
        seconds = float(moment.rule.argument) if moment.rule and moment.rule.argument else None
        await self._read_away(seconds)
        raise _Gone

    async def _mangled(self, reply: Reply, moment: Moment) -> None:
        """Write the reply cut short or drop by drop, then close; raises _Gone."""
        assert moment.rule is not None
        head = self._head(reply, len(reply.body))
        match moment.rule.name:
            case "cut-status":
                self._write(head[:10])
            case "cut-headers":
                self._write(head[: head.index(b"\r\n", 20) + 12])
            case "cut-body":
                self._write(head + reply.body[: len(reply.body) // 2])
            case _:
                pause_s = float(moment.rule.argument or _DRIP_S)
                for byte in head + reply.body:
                    self._write(bytes([byte]))
                    await self._writer.drain()
                    await asyncio.sleep(pause_s)
        await self._writer.drain()
        raise _Gone


def _plain_head(reply: Reply) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_reason(reply.status)}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        *(f"{name}: {value}" for name, value in reply.headers),
        "Server: Splunkd",
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _cookie(request: Request) -> str:
    match = _find_cookie(request.headers.get("cookie", ""))
    return match[1] if match else ""
