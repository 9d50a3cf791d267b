"""One run of `splunk_hec.pipe`: reads, submits, keeps count, spills, drains.

Not for arguments (`pipe`). Owned by the main thread, which also runs the signal handler: that one only sets
a flag and wakes the wait for input by a socket pair.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, Any

from splunk_hec._pipe_lines import LineCutter
from splunk_hec.client import HecClient
from splunk_hec.errors import Halted, InvalidEvent, one_line
from splunk_hec.events import Event, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from splunk_hec.config import HecConfig

_CHUNK_BYTES = 65_536
_LOOK_S = 0.2
"""How often a wait for room looks whether a signal came, and one for input whether outcomes did."""
_SAY_EVERY_S = 10.0
LINE_BYTES = 100
"""What a line costs in memory beside its bytes."""
EXIT_OK, EXIT_FAULT, EXIT_REFUSED, EXIT_UNCONFIRMED = 0, 1, 5, 7


class PipeRun:
    """From the first line to the exit code.

    Attributes:
        counts: Lines by what became of them.
    """

    def __init__(
        self, config: HecConfig, spill: str | None, drain_s: float, say: Callable[[str], None]
    ) -> None:
        """Make the client and open the file.

        Args:
            config: All settings.
            spill: The file for lines that are not confirmed, appended to; None: there is none.
            drain_s: Longest time for what is on its way once nothing more is read.
            say: Takes a line for people.

        Raises:
            ConfigError: As `HecClient`.
            OSError: The file cannot be opened.
        """
        self._client = HecClient(config)
        self._stream = self._client.stream()
        self._has_time = config.endpoint == "event"
        self._cutter = LineCutter(config.event_max_bytes)
        self._spill_name = spill
        self._spill = -1
        if spill is not None:
            self._spill = os.open(spill, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._drain_s = drain_s
        self._say = say
        self._said_at = -_SAY_EVERY_S
        self._started = time.monotonic()
        self._signals = 0
        self._deadline: float | None = None
        self._fault = ""
        self._refused = ""
        self._waker, self._wakes = socket.socketpair()
        for end in (self._waker, self._wakes):
            end.setblocking(False)
        self.counts: Counter[str] = Counter()
        self._log = logging.getLogger("splunk_hec")
        self._lines = _Lines(say)
        self._log.addHandler(self._lines)
        self._log.propagate = False

    def on_signal(self, number: int, frame: object) -> None:
        """For `signal.signal`: the first ends the reading, the second the draining."""
        del number, frame
        self._signals += 1
        self._set_deadline()

    def to_end(self, source: int) -> int:
        """Read the file descriptor to its end or to a signal, drain; returns the exit code."""
        before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            self._read_all(source)
            self._drain()
        except Halted as error:
            self._refused = str(error)
        finally:
            signal.set_wakeup_fd(before)
            self._end()
        return self._code()

    def summary(self) -> str:
        """What became of all lines, in one line."""
        told = self.counts
        lines = [
            f"{told['read']} lines read",
            f"{told['confirmed']} confirmed",
            f"{told['failed']} not confirmed",
            f"{told['refused']} refused",
            f"{self._cutter.too_long} too long",
            f"{told['blank']} blank",
        ]
        if self._spill_name is not None:
            lines.append(f"{told['spilled']} spilled to {one_line(self._spill_name)}")
        why = next((f"; {why}" for why in (self._fault, self._refused) if why), "")
        return f"{', '.join(lines)}; {time.monotonic() - self._started:.1f} s{why}"

    def _code(self) -> int:
        if self._fault:
            return EXIT_FAULT
        if self._refused:
            return EXIT_REFUSED
        lost = self.counts["failed"] + self.counts["refused"] + self._cutter.too_long
        return EXIT_UNCONFIRMED if lost else EXIT_OK

    # -- reading -----------------------------------------------------------------------------------------

    def _read_all(self, source: int) -> None:
        while not self._signals and not self._fault:
            try:
                ready, _, _ = select.select([source, self._wakes.fileno()], [], [], _LOOK_S)
                chunk = os.read(source, _CHUNK_BYTES) if source in ready else None
            except OSError as error:
                self._fault, chunk = f"standard input: {error.strerror}", b""
            self._take_outcomes()
            if chunk:
                self._submit(self._cutter.feed(chunk))
            elif chunk is not None:
                break
            self._client.raise_if_halted()  # only now: what was read must be counted, and spilled
        self._set_deadline()
        self._submit(self._cutter.rest())  # after a signal: its writer is ending too

    def _submit(self, texts: Sequence[bytes]) -> None:
        self._count("read", len(texts))
        lines: list[bytes] = []
        taken: list[bytes] = []
        query = ""
        now = time.time() if self._has_time else None
        for text in texts:
            if not text.strip():
                self._count("blank", 1)
                continue
            try:
                query, line = self._client.encode(Event(text, time=now))
            except InvalidEvent as error:
                self._lose("refused", [text], str(error))
                continue
            lines.append(line)
            taken.append(text)
        at = 0
        try:
            while at < len(lines) and not self._is_over:
                at += self._offer(lines[at:], taken[at:], query)
                self._take_outcomes()
        finally:
            self._lose("failed", taken[at:], "Splunk took no more")

    def _offer(self, lines: list[bytes], texts: list[bytes], query: str) -> int:
        refs: list[Any] = texts if self._spill >= 0 else list(repeat(None, len(lines)))
        held = LINE_BYTES * len(lines) + (sum(map(len, texts)) if self._spill >= 0 else 0)
        return self._stream.submit_lines(lines, refs, held_bytes=held, query=query, timeout_s=_LOOK_S)

    # -- what became of them -----------------------------------------------------------------------------

    def _take_outcomes(self) -> None:
        for outcome in self._stream.poll():
            if outcome.kind is OutcomeKind.DELIVERED:
                continue  # counted at the end: without a spill there are no refs, and so no outcomes
            why = f"{outcome.kind}, {outcome.reason}: {outcome.text}"
            self._lose("failed", outcome.refs, why)

    def _lose(self, kind: str, texts: Iterable[bytes | None], why: str) -> None:
        texts = list(texts)
        if not texts:
            return
        self._count(kind, len(texts))
        if self._spill >= 0:
            self._write([text for text in texts if text is not None])
        now = time.monotonic()
        if now - self._said_at >= _SAY_EVERY_S:  # a stream of bad lines must not become a stream of these
            self._said_at = now
            self._say(f"{len(texts)} lines are not confirmed ({one_line(why)})")

    def _write(self, texts: list[bytes]) -> None:
        view = memoryview(b"".join(text + b"\n" for text in texts))
        try:
            while view:
                view = view[os.write(self._spill, view) :]
        except OSError as error:  # nothing more is read; what follows is counted, and the exit code says it
            self._fault = self._fault or f"{self._spill_name}: {error.strerror}"
            self._close_spill()
        else:
            self._count("spilled", len(texts))

    def _close_spill(self) -> None:
        if self._spill >= 0:
            os.close(self._spill)
            self._spill = -1

    def _count(self, name: str, amount: int) -> None:
        self.counts[name] += amount

    # -- the end -----------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._drain_s

    @property
    def _is_over(self) -> bool:
        return self._signals > 1 or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _drain(self) -> None:
        self._set_deadline()
        while self._stream.flush(0 if self._is_over else _LOOK_S) and not self._is_over:
            self._take_outcomes()
            self._client.raise_if_halted()

    def _end(self) -> None:
        """What is left is settled as gave_up, and so lost; all else that was read is confirmed."""
        self._client.abort()
        self._take_outcomes()
        cut = self._cutter.rest()
        self._count("read", len(cut) + self._cutter.too_long)
        self._lose("failed", cut, "the input was not read to its end")
        counts = self.counts
        lost = counts["failed"] + counts["refused"] + counts["blank"] + self._cutter.too_long
        counts["confirmed"] = counts["read"] - lost
        self._close_spill()
        self._log.removeHandler(self._lines)
        self._log.propagate = True
        self._waker.close()
        self._wakes.close()


class _Lines(logging.Handler):
    """What the client logs, by `say`: it does not mind a reader of stderr that went away."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(one_line(record.getMessage()))
