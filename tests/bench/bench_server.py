"""The counting HEC server as a process, plain or with TLS, and what it has counted."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent / "light_hec.py"


class LightServer:
    """A counting server in a process of its own; a context manager.

    Attributes:
        pid: Its process.
        port: Where it listens, on 127.0.0.1.
        ca_file: What to trust for TLS; empty without.
    """

    def __init__(self, folder: Path, ack_delay_s: float | None, *, has_tls: bool = False) -> None:
        """Start it; a delay of None means a token without acknowledgements."""
        options = ["--no-acks"] if ack_delay_s is None else ["--ack-delay", str(ack_delay_s)]
        self.ca_file = ""
        if has_tls:
            self.ca_file, pem = _certificate(folder)
            options += ["--tls", pem]
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *options], stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def url(self) -> str:
        """Its address; a name that the certificate holds, with TLS."""
        return f"https://localhost:{self.port}" if self.ca_file else f"http://127.0.0.1:{self.port}"

    def count(self) -> dict[str, float]:
        """Its counters and its CPU seconds."""
        return self._ask("/count")

    def take_curve(self) -> list[tuple[float, int]]:
        """When how many events were acknowledged, since the last call."""
        return [(at, events) for at, events in self._ask("/curve")]

    def _ask(self, path: str) -> Any:
        return _ask(self.port, path, self.ca_file)


def _certificate(folder: Path) -> tuple[str, str]:
    """A CA, and a certificate with its key by it."""
    authority = trustme.CA()
    ca_file, pem = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    return str(ca_file), str(pem)


def _ask(port: int, path: str, ca_file: str = "") -> Any:
    connection = (
        http.client.HTTPSConnection("localhost", port, context=ssl.create_default_context(cafile=ca_file))
        if ca_file
        else http.client.HTTPConnection("127.0.0.1", port)
    )
    with contextlib.closing(connection):
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def counting_server(ack_delay_s: float) -> Iterator[int]:
    """A plain server; its port."""
    with LightServer(Path(), ack_delay_s) as server:
        yield server.port


def count(port: int) -> dict[str, float]:
    """What the server at this port has counted."""
    found: dict[str, float] = _ask(port, "/count")
    return found
