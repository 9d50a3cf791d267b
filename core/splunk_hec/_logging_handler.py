"""`HecHandler`: Python's `logging` to Splunk, without waiting for it.

Not for events whose delivery the program must know of: that is `HecClient`. Guarantees: `emit` does no
network I/O and raises nothing; a forked child sends what it logs by a client of its own, and nothing of
its parent's; what our own thread or our libraries log is never sent, so nothing feeds itself.

Non-obvious: there is no handler lock. `logging.shutdown` takes it, so an `emit` that waits for room while
it holds it could keep the process from ending. What a record needs is guarded in the sender.
"""

from __future__ import annotations

import logging
import multiprocessing.process
import os
import socket
import sys
import threading
import weakref
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from splunk_hec._envelope import EnvelopeEncoder
from splunk_hec._log_records import event_of, tamed
from splunk_hec._log_sender import THREAD, LogSender, Overflow
from splunk_hec.config import HecConfig
from splunk_hec.errors import ClosedError, ConfigError, InvalidEvent, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from splunk_hec.events import Event, FieldValue

_OURS = frozenset({"splunk_hec", "urllib3", "requests"})
_SETTINGS = frozenset(field.name for field in msgspec.structs.fields(HecConfig)) - {
    "endpoint", "in_flight_max_bytes", "lanes", "threads",
}  # fmt: skip
_handlers: weakref.WeakSet[HecHandler] = weakref.WeakSet()


class HecHandler(logging.Handler):
    """A `logging.Handler` that sends each record as one event. Any thread.

    Without a formatter the event is a JSON object: message, level, logger, exception, stack, and the
    members of `extra`. With one it is the formatter's text.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        token: str,
        level: int | str = logging.NOTSET,
        *,
        extras: Literal["members", "fields"] = "members",
        overflow: Overflow = "drop_oldest",
        budget_bytes: int = 33_554_432,
        flush_s: float = 5.0,
        index: str = "",
        source: str = "",
        sourcetype: str = "",
        host: str | None = None,
        fields: Mapping[str, FieldValue] | None = None,
        ack: Literal["required", "auto", "off"] = "auto",
        **settings: Any,
    ) -> None:
        """All arguments are plain values, for `logging.config.dictConfig`.

        Args:
            url: `https://host:8088`, or several of them.
            token: `env:NAME`, `file:PATH`, `gcp-secret:…`, or the token itself.
            level: As of any handler.
            extras: Where `extra` goes: `members` of the event, or indexed `fields` (then what is neither a
                scalar nor a list of them is its text).
            overflow: Where the budget is full: `drop_oldest` of what waits, and send the count in its place;
                `block` until there is room; `raise`, which ends in `handleError`.
            budget_bytes: Memory for records that are not confirmed; half of it for those that wait.
            flush_s: Longest time that `flush`, and so the end of the process, takes, in seconds.
            index: Metadata of all events; empty: the token's.
            source: Metadata of all events; empty: the token's.
            sourcetype: Metadata of all events; empty: the token's.
            host: Metadata of all events; None: this machine's name.
            fields: Indexed fields of all events; those of `extra` win.
            ack: As in `HecConfig`; `auto` also takes tokens without acknowledgements.
            **settings: Any other of `HecConfig`'s settings: verify, ca_file, proxy, linger_s, gzip…

        Raises:
            ConfigError: A setting is unknown or wrong, or the token's reference leads nowhere.
        """
        _check(settings, extras, overflow, budget_bytes, flush_s)
        self._config = HecConfig(
            url=url if isinstance(url, str) else tuple(url),
            token=token,
            index=index,
            source=source,
            sourcetype=sourcetype,
            host=socket.gethostname() if host is None else host,
            fields=dict(fields or {}),
            ack=ack,
            in_flight_max_bytes=budget_bytes - budget_bytes // 2,
            threads=False,
            **settings,
        )
        self._encoder = EnvelopeEncoder(self._config)
        self._has_fields = extras == "fields"
        self._budget_bytes = budget_bytes
        self._overflow: Overflow = overflow
        self._flush_s = flush_s
        self._is_closed = False
        self._making = threading.Lock()
        self._sender: LogSender | None = self._new_sender()  # what is wrong shows here, not in a thread
        super().__init__(level)
        _handlers.add(self)

    def __repr__(self) -> str:
        return f"<HecHandler {' '.join(self._config.urls)} | {self._sender!r}>"

    def createLock(self) -> None:  # noqa: N802 -- logging's name
        """No lock: see the module."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """As of any handler, without its lock."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def filter(self, record: logging.LogRecord) -> bool:
        """Refuse what our own work logs, then as of any handler."""
        if record.name.partition(".")[0] in _OURS or record.threadName == THREAD:
            return False
        return super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record for delivery; whatever goes wrong goes to `handleError`."""
        try:
            text = None if self.formatter is None else self.format(record)
            line = self._encoded(event_of(record, text, has_fields=self._has_fields))
            self._sender_here().add(line)
        except Exception:  # noqa: BLE001 -- as all of logging's handlers
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all that was logged is settled, at most `flush_s`."""
        if self._sender is not None:
            self._sender.flush(self._flush_s)

    def close(self) -> None:
        """Flush, say on stderr what is unconfirmed, and end. Called at the end of the process."""
        self._is_closed = True
        if self._sender is not None:
            self._warn(self._sender.close(self._flush_s))
            self._sender = None
        super().close()

    def _warn(self, at_risk: int) -> None:
        if at_risk:
            _tell(f"{at_risk} log records were not confirmed within {self._flush_s:g} s: they may be lost")

    def _encoded(self, event: Event) -> bytes:
        try:
            return self._encoder.encode(event)
        except InvalidEvent:
            return self._encoder.encode(tamed(event))

    def _sender_here(self) -> LogSender:
        sender = self._sender
        if sender is None:
            with self._making:
                if self._is_closed:
                    raise ClosedError("the handler is closed")
                if self._sender is None:
                    self._sender = self._new_sender()
                sender = self._sender
        return sender

    def _new_sender(self) -> LogSender:
        if multiprocessing.process.parent_process() is not None:
            # Such a child ends without atexit before Python 3.13.
            from multiprocessing.util import Finalize  # noqa: PLC0415 -- for such children only

            Finalize(None, self._flush_at_exit, exitpriority=0)
        return LogSender(self._config, self._budget_bytes, self._overflow, _tell)

    def _flush_at_exit(self) -> None:
        if self._sender is not None:
            self._warn(self._sender.flush(self._flush_s))

    def _forget_parent(self) -> None:
        """In a forked child: what is held is the parent's to send, and its locks may be held for ever."""
        self._making = threading.Lock()
        self._sender = None


def _after_fork_in_child() -> None:
    for handler in list(_handlers):
        handler._forget_parent()  # noqa: SLF001 -- of this module


os.register_at_fork(after_in_child=_after_fork_in_child)


def _check(
    settings: Mapping[str, Any], extras: str, overflow: str, budget_bytes: float, flush_s: float
) -> None:
    for name in settings.keys() - _SETTINGS:
        near = get_close_matches(name, _SETTINGS | {"extras", "overflow", "budget_bytes", "flush_s"}, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"HecHandler has no setting {name!r}{hint}")
    if extras not in ("members", "fields"):
        raise ConfigError(f"extras must be 'members' or 'fields', not {extras!r}")
    if overflow not in get_args(Overflow):
        raise ConfigError(f"overflow must be one of {', '.join(get_args(Overflow))}, not {overflow!r}")
    if budget_bytes <= 0:
        raise ConfigError(f"budget_bytes must be greater than 0, not {budget_bytes}")
    if flush_s < 0:
        raise ConfigError(f"flush_s must be 0 or more, not {flush_s}")


def _tell(text: str) -> None:
    """On stderr, as logging itself tells of its errors: a logger might lead back here."""
    if logging.raiseExceptions and sys.stderr:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"splunk_hec: {one_line(text)}\n")
