"""The processes that `demo` starts beside Kafka: the HEC emulator and the real sink, ended by their ids.

They run in sessions of their own: Ctrl-C reaches `demo` alone, and the sink can drain before Splunk goes.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from splunk_hec_kafka.demo_feed import INDEX
from splunk_hec_kafka.failures import ExitCode, SinkFailure

TOKEN = "00000000-0000-0000-0000-000000000001"  # noqa: S105 -- the emulator's published test token
TOKEN_VARIABLE = "DEMO_SPLUNK_HEC_TOKEN"  # noqa: S105 -- a name
_STUCK_S = 60.0
_END_S = 30.0
_FOREIGN = ("HEC_SINK_", "SPLUNK_HEC_")
"""Variables of the user's own sink, which must not configure the demo's."""


class EmulatorProcess:
    """A HEC emulator in a process of its own; a context manager.

    Attributes:
        url: Where it listens.
        journal: The file that holds what it indexed; nobody's if there is no folder for it.
    """

    def __init__(self, folder: Path | None, *more: str) -> None:
        """Start it, with `more` options."""
        self.journal = Path(os.devnull) if folder is None else folder / "journal.jsonl"
        options = ["--listen", "127.0.0.1:0", *more]
        if folder is not None:
            self.journal.touch()
            options += ["--journal", str(self.journal)]
        self._process = subprocess.Popen(  # noqa: S603 -- our own module, our own interpreter
            [sys.executable, "-P", "-m", "splunk_hec_emulator", *options],
            env=os.environ | {"HEC_EMULATOR_TOKEN": f"{TOKEN}:ack:index={INDEX}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout
        first = self._process.stdout.readline()
        self.url = first.removeprefix("listening on ").strip()
        if not self.url:
            self.__exit__()
            raise SinkFailure(ExitCode.INTERNAL, "the HEC emulator did not start", "see the line above")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout
        _end(self._process)
        self._process.stdout.close()

    def stats(self) -> dict[str, Any]:
        """Its counters; empty if it does not answer."""
        connection = http.client.HTTPConnection(self.url.partition("://")[2], timeout=2)
        try:
            connection.request("GET", "/emulator/stats")
            return dict(json.loads(connection.getresponse().read()))
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        finally:
            connection.close()


class SinkProcess:
    """`hec-kafka-sink run` with the demo's configuration; a context manager.

    Attributes:
        summary: What it printed; empty before its end, or if it printed none.
        code: Its exit code.
        log: What it logged.
    """

    def __init__(self, config: Path, *options: str) -> None:
        self.summary: dict[str, Any] = {}
        self.code = 0
        self.log = config.with_suffix(".log")
        env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self._result = config.with_suffix(".out")
        with self._result.open("w") as result, self.log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- our own module, our own interpreter
                [sys.executable, "-P", "-m", "splunk_hec_kafka", "run", "-c", str(config), *options],
                env=env | {TOKEN_VARIABLE: TOKEN},
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)

    def wait(self, emulator: EmulatorProcess) -> None:
        """Wait for its end, or end it when nothing more arrives for a minute; then read its summary."""
        seen, deadline = -1, time.monotonic() + _STUCK_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            indexed = emulator.stats().get("events_indexed", 0)
            if indexed != seen:
                seen, deadline = indexed, time.monotonic() + _STUCK_S
        _end(self._process)
        self.code = self._process.returncode
        with suppress(ValueError):
            self.summary = dict(json.loads(self._result.read_text(encoding="utf-8")))


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
