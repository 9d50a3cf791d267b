"""A schema registry for tests that speaks HTTP: the few calls that serializers and the sink make of one.

No real registry server can be had from the package registries, so its replies are written here, by
Confluent's API reference; serializers of confluent-kafka register their schemas in it by its own client.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class SchemaRegistry:
    """Serves until the context is left; `status` other than 0 is what every lookup gets."""

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.status = 0
        self.asked: Counter[str] = Counter()
        registry = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked[self.path] += 1
                self._answer(*registry.found(self.path.partition("?")[0]))

            def do_POST(self) -> None:
                schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(200, {"id": registry.register(schema)})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def register(self, schema: dict[str, Any]) -> int:
        """The id of a schema, new or known."""
        if schema not in self.schemas:
            self.schemas.append(schema)
        return self.schemas.index(schema) + 1

    def found(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body for a lookup."""
        if self.status:
            return self.status, {"error_code": self.status * 100 + 1, "message": "not now"}
        number = path.removeprefix("/schemas/ids/")
        if not number.isdigit():
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        if not 0 < int(number) <= len(self.schemas):
            return 404, {"error_code": 40403, "message": f"Schema {number} not found"}
        return 200, self.schemas[int(number) - 1]
