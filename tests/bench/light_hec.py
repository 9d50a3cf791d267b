"""A HEC server that only counts: as little work as possible, so that it is not what a benchmark measures.

Reads requests, unpacks every body and counts its lines, numbers them per channel, tells each id true once
after a delay. Judges nothing. `python light_hec.py --ack-delay 1.0` prints its port; `GET /count` answers its
counters and its CPU seconds; `GET /curve` answers when how many events were acknowledged since it was last
asked (with `--no-acks`: accepted), on the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from collections import Counter
from typing import Any

from isal import isal_zlib

GZIP = 31
"""zlib's word for one gzip member."""


class Counts:
    """What the server has seen; one for all connections, used by the loop's thread alone."""

    def __init__(self, delay_s: float, *, has_acks: bool) -> None:
        self.delay_s = delay_s
        self.has_acks = has_acks
        self.seen = Counter[str]()
        self.pending: dict[bytes, dict[int, tuple[float, int]]] = {}
        self.next_id = Counter[bytes]()
        self.curve: list[tuple[float, int]] = []

    def take(self, channel: bytes, body: bytes, encoding: bytes) -> dict[str, object]:
        """Count a batch; the reply to it."""
        seen = self.seen
        seen["wire_bytes"] += len(body)
        if encoding == b"gzip":
            body = isal_zlib.decompress(body, wbits=GZIP, bufsize=1 << 20)
        events = body.count(b"\n") + (not body.endswith(b"\n"))
        seen["bytes"] += len(body)
        seen["events"] += events
        seen["requests"] += 1
        now = time.monotonic()
        if not self.has_acks:
            self.curve.append((now, events))
            return {"text": "Success", "code": 0}
        ack_id = self.next_id[channel]
        self.next_id[channel] = ack_id + 1
        self.pending.setdefault(channel, {})[ack_id] = now + self.delay_s, events
        return {"text": "Success", "code": 0, "ackId": ack_id}

    def tell(self, channel: bytes, asked: list[int]) -> dict[str, object]:
        """Which of these are acknowledged; each is told once."""
        self.seen["polls"] += 1
        now = time.monotonic()
        pending = self.pending.get(channel, {})
        told: dict[str, bool] = {}
        for one in asked:
            due, events = pending.get(one, (float("inf"), 0))
            told[str(one)] = due <= now
            if due <= now:
                del pending[one]
                self.curve.append((now, events))
        return {"acks": told}

    def figures(self) -> dict[str, float]:
        """All counters, and what counting has cost."""
        known = dict.fromkeys(("events", "requests", "polls", "bytes", "wire_bytes"), 0)
        return known | dict(self.seen) | {"cpu_s": time.process_time()}

    def take_curve(self) -> list[tuple[float, int]]:
        """What was acknowledged since the last call."""
        curve, self.curve = self.curve, []
        return curve


class Counting(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._transport: Any = None
        self._buffer = bytearray()
        self._awaited = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer each whole request."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= self._awaited and (head_end := buffer.find(b"\r\n\r\n")) >= 0:
            path, headers = read_head(bytes(buffer[:head_end]))
            self._awaited = head_end + 4 + int(headers.get(b"content-length", b"0"))
            if len(buffer) < self._awaited:
                return
            body = bytes(memoryview(buffer)[head_end + 4 : self._awaited])
            del buffer[: self._awaited]
            self._awaited = 0
            status, document = self._answer(path, headers, body)
            text = json.dumps(document).encode()
            self._transport.write(
                b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(text), text)
            )

    def _answer(self, path: bytes, headers: dict[bytes, bytes], body: bytes) -> tuple[int, object]:
        if path == b"/count":
            return 200, self._counts.figures()
        if path == b"/curve":
            return 200, self._counts.take_curve()
        channel = headers.get(b"x-splunk-request-channel", b"")
        if path.partition(b"?")[0].endswith(b"/ack"):
            return 200, self._counts.tell(channel, json.loads(body)["acks"])
        if not body:
            return 400, {"text": "No data", "code": 5}
        return 200, self._counts.take(channel, body, headers.get(b"content-encoding", b""))


def read_head(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Path and headers of a request; names in small letters."""
    lines = head.split(b"\r\n")
    pairs = (line.partition(b": ") for line in lines[1:])
    return lines[0].split(b" ", 2)[1], {name.lower(): value for name, _, value in pairs}


async def serve(counts: Counts, context: ssl.SSLContext | None) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Counting(counts), "127.0.0.1", 0, ssl=context, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ack-delay", type=float, default=1.0)
    parser.add_argument("--no-acks", action="store_true")
    parser.add_argument("--tls", metavar="PEM", help="a certificate with its key: speak https")
    given = parser.parse_args()
    context = None
    if given.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.tls)
    asyncio.run(serve(Counts(given.ack_delay, has_acks=not given.no_acks), context))


if __name__ == "__main__":
    main()
