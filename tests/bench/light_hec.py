"""A HEC server that only counts: as little work as possible, so that it is not what a benchmark measures.

Reads requests, unpacks and counts lines, numbers them per channel, tells each id true once after a delay.
Judges nothing. `python light_hec.py --ack-delay 1.0` prints its port; `GET /count` answers `{"events": n}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from isal import igzip


class Counting(asyncio.Protocol):
    """One connection."""

    events = 0
    requests = 0
    delay_s = 1.0
    channels: dict[bytes, dict[int, float]] = {}  # noqa: RUF012 -- one table for all connections of the process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer each whole request."""
        self.buffer += data
        while (head_end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:head_end])
            pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
            headers = {name.lower(): value for name, _, value in pairs}
            length = int(headers.get(b"content-length", b"0"))
            if len(self.buffer) < head_end + 4 + length:
                return
            body = bytes(self.buffer[head_end + 4 : head_end + 4 + length])
            del self.buffer[: head_end + 4 + length]
            status, document = self.answer(head.split(b" ", 2)[1], headers, body)
            text = json.dumps(document).encode()
            self.transport.write(  # type: ignore[attr-defined]
                b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(text), text)
            )

    def answer(self, path: bytes, headers: dict[bytes, bytes], body: bytes) -> tuple[int, dict[str, object]]:
        """Count, number, acknowledge."""
        cls = type(self)
        if path == b"/count":
            return 200, {"events": cls.events, "requests": cls.requests, "cpu_s": time.process_time()}
        ids = cls.channels.setdefault(headers.get(b"x-splunk-request-channel", b""), {})
        if path.endswith(b"/ack"):
            now = time.monotonic()
            asked = json.loads(body)["acks"]
            told = {str(one): one in ids and ids[one] <= now for one in asked}
            return 200, {"acks": told}
        if not body:
            return 400, {"text": "No data", "code": 5}
        if headers.get(b"content-encoding") == b"gzip":
            body = igzip.decompress(body)
        cls.events += body.count(b"\n") + 1
        cls.requests += 1
        ids[len(ids)] = time.monotonic() + cls.delay_s
        return 200, {"text": "Success", "code": 0, "ackId": len(ids) - 1}


async def serve(delay_s: float) -> None:
    """Serve until killed."""
    Counting.delay_s = delay_s
    server = await asyncio.get_running_loop().create_server(Counting, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ack-delay", type=float, default=1.0)
    asyncio.run(serve(parser.parse_args().ack_delay))
