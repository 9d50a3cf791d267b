"""Memory does not grow with the bundle."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from beam_tools import TOKEN
from one_big_bundle import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LIGHT_HEC = HERE.parent / "bench" / "light_hec.py"
AT_MOST_BYTES = 250_000_000


@pytest.fixture
def counting_port() -> Iterator[int]:
    """The port of a HEC server that acknowledges after a second and counts, as a process."""
    command = [sys.executable, "-I", str(LIGHT_HEC), "--ack-delay", "1.0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def peak_bytes(*arguments: str) -> int:
    """The most memory that the pipeline's process held."""
    done = subprocess.run(
        [sys.executable, str(HERE / "one_big_bundle.py"), *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "TEST_HEC_TOKEN": TOKEN},
        check=True,
        timeout=240,
    )
    return int(done.stdout)


def counted_events(port: int) -> int:
    """What the server took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/count")
        found: int = json.loads(connection.getresponse().read())["events"]
        return found
    finally:
        connection.close()


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["text", "mapping"])
@pytest.mark.timeout(480)
def test_a_bundle_of_a_million_events_adds_little_memory(kind: str, counting_port: int) -> None:
    """A million events in one bundle, each batch acknowledged after a second, add under 250 MB."""
    without = peak_bytes(kind)
    within = peak_bytes(kind, f"http://127.0.0.1:{counting_port}", "env:TEST_HEC_TOKEN")
    assert counted_events(counting_port) == EVENTS
    print(f"{without / 1e6:.0f} MB without the sink, {within / 1e6:.0f} MB with it")
    assert within - without < AT_MOST_BYTES
