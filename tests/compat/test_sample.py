"""The documented sample program, as a process of its own, in all its variants."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from scenarios import texts_of

from splunk_hec_emulator import Emulator

SAMPLE = Path(__file__).with_name("sample.py")
EVENTS = 100


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("kind", "threads", "acks"), list(product(("raw", "json"), (0, 4), ("acks", "no-acks")))
)
def test_the_documented_program_runs_as_it_stands(kind: str, threads: int, acks: str) -> None:
    """Code that was written for the library delivers every event once, and its backup queue is empty."""
    with Emulator(ack_delay="0.1s") as server:
        token = server.token if acks == "acks" else server.plain_token
        port = server.url.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, str(SAMPLE), port, token, kind, str(threads), acks, str(EVENTS)],
            capture_output=True, text=True, check=True, timeout=100,
        )  # fmt: skip
        indexed = texts_of(server.events())
    assert "everything worked" in done.stdout
    numbers = sorted(int(text.partition("Message ")[2].partition(".")[0]) for text in indexed)
    assert numbers == list(range(EVENTS))
