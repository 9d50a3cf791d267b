"""Sends encoded log records from one process: a bounded waiting room, and one thread that empties it.

Not for records (`_log_records`) or for what logging wants (`_logging_handler`). Guarantees: `add` does no
I/O; what waits and what is on its way are bounded, each by half of the budget; what is dropped is counted,
and the count is sent in the place of what was dropped.

Threads: any may call. The client belongs to the thread `splunk-hec-handler`, which starts with the first
record; it is a client without threads of its own. Where no thread can be started (the interpreter is
ending), `flush` does the work. Not to be used in a forked child: the handler makes a new one there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Literal

from splunk_hec._log_records import dropped_notice
from splunk_hec.client import HecClient
from splunk_hec.errors import BudgetExceeded, ClosedError, Halted
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec.config import HecConfig

THREAD = "splunk-hec-handler"
Overflow = Literal["drop_oldest", "block", "raise"]

LINE_BYTES = 100
"""What a line costs in memory beside its bytes."""
_CHUNK = 500
_TICK_S = 0.1
"""How often a client with events on their way is turned, while no new line wakes its thread."""
_JOIN_S = 1.0


class LogSender:
    """The lines of one handler in one process."""

    def __init__(
        self, config: HecConfig, budget_bytes: int, overflow: Overflow, tell: Callable[[str], None]
    ) -> None:
        """Open nothing yet.

        Args:
            config: Without threads, and with half of the budget.
            budget_bytes: The whole budget; the other half is for lines that wait.
            overflow: What `add` does where there is no room.
            tell: Says a line to people.

        Raises:
            ConfigError: As `HecClient`.
        """
        self._client = HecClient(config)
        self._stream = self._client.stream()
        self._room_bytes = budget_bytes // 2
        self._overflow = overflow
        self._tell = tell
        self._changed = threading.Condition()  # guards all below
        self._waiting: deque[tuple[int, bytes]] = deque()  # each with how many were dropped before it
        self._held_bytes = 0  # of what waits and what is taken
        self._taken = 0  # no longer waiting, not yet the client's
        self._dropped = 0  # before the line that comes next
        self._flushers = 0
        self._halted: Halted | None = None
        self._is_hopeless = False  # the last flush was in vain, and nothing came since
        self._is_ended = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<LogSender waiting {len(self._waiting)} | dropped {self._dropped} | {self._stream!r}>"

    def add(self, line: bytes) -> None:
        """Take an encoded envelope.

        Raises:
            BudgetExceeded: There is no room, and the policy is `raise`.
            Halted: There is no room, the policy is `block`, and Splunk refuses the deployment for longer
                than the patience: it may never come.
            ClosedError: The sender is closed.
        """
        cost = len(line) + LINE_BYTES
        with self._changed:
            if not self._has_room(cost):
                self._make_room(cost)
            if self._is_ended:
                raise ClosedError("the handler is closed")
            self._waiting.append((self._dropped, line))
            self._dropped = 0
            self._held_bytes += cost
            self._is_hopeless = False
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> int:
        """Wait until all that was added is settled; returns how many records are not, 0 is success."""
        with self._changed:
            if self._thread is not None:
                self._flushers += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self.unsettled, timeout_s)
                self._flushers -= 1
                self._is_hopeless = bool(self.unsettled)
                return self.unsettled
        deadline = time.monotonic() + timeout_s
        while self.unsettled and time.monotonic() < deadline:
            self._turn(is_hurried=True)
        self._is_hopeless = bool(self.unsettled)
        return self.unsettled

    def close(self, timeout_s: float) -> int:
        """Flush, unless that was just done in vain, and end; returns how many records are at risk."""
        left = self.unsettled if self._is_hopeless or self._is_ended else self.flush(timeout_s)
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        if self._thread is None:
            self._client.abort()
        elif self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        return left

    @property
    def unsettled(self) -> int:
        """Records that were taken and are neither settled nor dropped."""
        return len(self._waiting) + self._taken + self._stream.unsettled

    # -- with the lock held ------------------------------------------------------------------------------

    def _has_room(self, cost: int) -> bool:
        return self._held_bytes + cost <= self._room_bytes or not self._held_bytes

    def _make_room(self, cost: int) -> None:
        match self._overflow:
            case "raise":
                raise BudgetExceeded("the handler's budget is full: the record is not sent")
            case "block":
                while not (self._has_room(cost) or self._is_ended or self._halted):
                    if self._thread is None:  # it ended by a fault of ours
                        self._start()
                    self._changed.wait(_TICK_S)
                if self._halted is not None and not self._has_room(cost):
                    raise self._halted
            case _:
                self._drop(cost)

    def _drop(self, cost: int) -> None:
        dropped = 0
        while self._waiting and not self._has_room(cost):
            before, line = self._waiting.popleft()
            self._held_bytes -= len(line) + LINE_BYTES
            dropped += before + 1
        if self._waiting:
            before, line = self._waiting[0]
            self._waiting[0] = (before + dropped, line)
        else:
            self._dropped += dropped

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending; flush, which comes then, does the work
            return
        self._thread = thread

    def _has_work(self) -> bool:
        is_wanted = self._flushers and self._stream.unsettled
        return bool(self._waiting or is_wanted or self._is_ended)

    # -- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._has_work, _TICK_S if self._stream.unsettled else None)
                    if self._is_ended:
                        break
                    is_hurried = self._flushers > 0
                self._turn(is_hurried=is_hurried)
            self._client.abort()
        except Exception as error:  # noqa: BLE001 -- the outermost frame: the next record starts another
            with self._changed:
                self._thread = None
                self._changed.notify_all()
            self._tell(f"a fault of our own, {type(error).__name__}; the next log record starts afresh")

    def _turn(self, *, is_hurried: bool) -> None:
        with self._changed:
            lines = self._take()
        left = lines
        try:
            if lines:
                left = self._submit(lines)
        finally:
            with self._changed:
                self._held_bytes -= _cost(lines) - _cost(left)
                self._waiting.extendleft(reversed(left))
                self._taken = 0
        if is_hurried:
            self._stream.flush(_TICK_S)
        self._tell_failures(_TICK_S if self._halted else 0)
        with self._changed:
            self._changed.notify_all()

    def _take(self) -> list[tuple[int, bytes]]:
        lines: list[tuple[int, bytes]] = []
        size = 0
        while self._waiting and len(lines) < _CHUNK and size < self._room_bytes // 4:
            lines.append(self._waiting.popleft())
            size += len(lines[-1][1]) + LINE_BYTES
        self._taken = len(lines)
        return lines

    def _submit(self, lines: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Hand lines to the client, each behind a notice of what was dropped before it; returns the rest."""
        block: list[bytes] = []
        owners: list[int] = []  # of each in the block, the line it is, or is the notice of
        for at, (dropped, line) in enumerate(lines):
            if dropped:
                block.append(self._client.encode(dropped_notice(dropped))[1])
                owners.append(at)
            block.append(line)
            owners.append(at)
        taken = self._offer(block)
        if taken == len(block):
            return []
        left = lines[owners[taken] :]
        if taken and owners[taken - 1] == owners[taken]:  # its notice is on its way without it
            left[0] = (0, left[0][1])
        return left

    def _offer(self, block: list[bytes]) -> int:
        held_bytes = LINE_BYTES * len(block)
        manifest = list(repeat(None, len(block)))
        try:
            taken = self._stream.submit_lines(block, manifest, held_bytes=held_bytes, timeout_s=_TICK_S)
        except Halted as error:
            if self._halted is None:
                self._tell(f"Splunk refuses what is logged ({error}); records wait, see the overflow policy")
            self._halted = error
            return 0
        self._halted = None
        return taken

    def _tell_failures(self, timeout_s: float) -> None:
        for outcome in self._stream.poll(timeout_s):
            if outcome.kind is not OutcomeKind.DELIVERED:
                why = f"{outcome.kind}, {outcome.reason}: {outcome.text}"
                self._tell(f"{outcome.count} log records are not confirmed by Splunk ({why})")


def _cost(lines: list[tuple[int, bytes]]) -> int:
    return sum(len(line) + LINE_BYTES for _, line in lines)
