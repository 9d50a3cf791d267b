"""A TCP proxy between one sink and the HEC servers, with weather: delays, resets, cuts, drips, partitions.

Bytes pass as they come; HTTP is only overheard, to know what is under way and to write down which ack id was
told on which channel, and which was asked (`wire.jsonl`). Not for replies that are wrong in themselves:
the servers' own fault rules make those.

    weather       each value is a chance, but `latency` (seconds) and `partition` (on while it is there)
    reset-request the connection is reset in the middle of a request     reset-reply  instead of its reply
    reset-after   right after the reply                                  cut-reply    half of it, then FIN
    drip          a byte each 0.05 s                                     astray       to the other servers

Guarantee: an id is written down as told only if every byte of its reply was passed on.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .files import Log

CHUNK = 65_536
DRIP_S = 0.05
HOLD_S = 0.15
LOOK_S = 0.05
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST
_length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
_channel = re.compile(rb"\r\nx-splunk-request-channel: *([^\r]+)", re.IGNORECASE).search


class Messages:
    """Cuts a stream of bytes into HTTP messages: (head, body) of each that is whole."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take bytes; returns the messages that they complete."""
        self._data += data
        found: list[tuple[bytes, bytes]] = []
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            declared = _length(self._data, 0, end)
            total = end + 4 + (int(declared[1]) if declared else 0)
            if len(self._data) < total:
                break
            found.append((bytes(self._data[:end]), bytes(self._data[end + 4 : total])))
            del self._data[:total]
        return found


class Proxy:
    """One sink's way to Splunk. `weather` and `moment` may be used from any thread.

    Attributes:
        weather: What happens to traffic now.
        url: Where the sink connects.
    """

    def __init__(self, seed: str, log: Log, straight: Sequence[int], astray: Sequence[int]) -> None:
        self.weather: dict[str, float] = {}
        self.url = ""
        self._random = random.Random(seed)
        self._log = log
        self._ways = (straight, astray)
        self._moments: dict[str, threading.Event] = {}
        self._links: set[_Link] = set()

    async def listen(self) -> None:
        """Take connections on a port of its own."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def moment(self, name: str) -> threading.Event:
        """An event that is set when next a POST is under way (`posting`) or was accepted (`accepted`)."""
        return self._moments.setdefault(name, threading.Event())

    def reached(self, name: str) -> bool:
        """Tell who waits for this moment; returns whether anybody does."""
        waiting = self._moments.pop(name, None)
        if waiting is not None:
            waiting.set()
        return waiting is not None

    def breaks(self, name: str) -> bool:
        """Whether this weather strikes now."""
        return self._random.random() < self.weather.get(name, 0.0)

    def break_all(self) -> None:
        """Reset every connection; on the loop's thread."""
        for link in list(self._links):
            link.reset()

    async def clear(self) -> None:
        """Wait while there is a partition."""
        while "partition" in self.weather:  # noqa: ASYNC110 -- it is set by another thread
            await asyncio.sleep(LOOK_S)

    def told(self, channel: str, ack_id: int) -> None:
        """An id was told."""
        self._log.write(json.dumps({"told": ack_id, "on": channel}) + "\n")
        self.reached("accepted")

    def asked(self, channel: str, ids: list[int]) -> None:
        """Ids were asked."""
        self._log.write(json.dumps({"asked": ids, "on": channel}) + "\n")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await self.clear()
            ports = self._ways[self.breaks("astray")]
            await link.serve(self._random.choice(ports))
        except OSError:
            link.reset()
        finally:
            self._links.discard(link)
            writer.close()


class _Link:
    """One connection of a sink, and the one that it is passed on to."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._up: asyncio.StreamWriter | None = None
        self._requests, self._replies = Messages(), Messages()
        self._pending: list[tuple[str, str]] = []
        self._is_fresh = True
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self, port: int) -> None:
        """Pass bytes on until either side ends."""
        up_reader, self._up = await asyncio.open_connection("127.0.0.1", port)
        self._tasks = [
            asyncio.create_task(self._requests_up()),
            asyncio.create_task(self._replies_down(up_reader)),
        ]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            self._up.close()
            if any(isinstance(one, ConnectionError) for one in results):
                self.reset()

    def reset(self) -> None:
        """RST to both sides."""
        for writer in (self._writer, self._up):
            raw = writer.get_extra_info("socket") if writer is not None else None
            if writer is not None and raw is not None and raw.fileno() >= 0:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    async def _requests_up(self) -> None:
        assert self._up is not None
        while data := await self._reader.read(CHUNK):
            await self._proxy.clear()
            if self._proxy.breaks("reset-request"):
                self._up.write(data[: len(data) // 2])
                await self._up.drain()
                raise ConnectionResetError
            self._overhear(data)
            self._up.write(data)
            await self._up.drain()

    async def _replies_down(self, reader: asyncio.StreamReader) -> None:
        proxy = self._proxy
        while data := await reader.read(CHUNK):
            if self._pending and self._pending[0][0] == "event" and proxy.reached("posting"):
                await asyncio.sleep(HOLD_S)  # who waited for it now has time to act
            await asyncio.sleep(proxy.weather.get("latency", 0.0) * proxy._random.random() * 2)
            await proxy.clear()
            if proxy.breaks("reset-reply"):
                raise ConnectionResetError
            if proxy.breaks("cut-reply"):
                self._writer.write(data[: len(data) // 2])
                await self._writer.drain()
                return
            if proxy.breaks("drip"):
                for at in range(len(data)):
                    self._writer.write(data[at : at + 1])
                    await self._writer.drain()
                    await asyncio.sleep(DRIP_S)
                self._write_down(data)
                continue
            self._write_down(data)
            self._writer.write(data)
            await self._writer.drain()
            if proxy.breaks("reset-after"):
                await asyncio.sleep(LOOK_S)
                raise ConnectionResetError

    def _overhear(self, data: bytes) -> None:
        for head, body in self._requests.feed(data):
            found = _channel(head)
            channel = found[1].decode() if found else ""
            is_ack = b"/ack" in head[: head.find(b"\r\n")]
            self._pending.append(("ack" if is_ack else "event" if body else "probe", channel))
            if is_ack:
                with suppress(ValueError, KeyError):
                    self._proxy.asked(channel, json.loads(body)["acks"])

    def _write_down(self, data: bytes) -> None:
        for _, body in self._replies.feed(data):
            kind, channel = self._pending.pop(0) if self._pending else ("", "")
            if kind in ("event", "probe"):
                with suppress(ValueError, KeyError, TypeError):
                    self._proxy.told(channel, int(json.loads(body)["ackId"]))


class Proxies:
    """The loop of all proxies, on a thread of its own; a context manager."""

    def __init__(self, proxies: Sequence[Proxy]) -> None:
        self.proxies = proxies
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxies", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in self.proxies:
            asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, what: Callable[[], None]) -> None:
        """Do something on the loop's thread, soon."""
        self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
