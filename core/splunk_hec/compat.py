"""The class `splunk_hec`: the calls of the library splunk-hec-ftf, on this package's engine.

    from splunk_hec import splunk_hec

Threads: any thread may call. With `max_threads=0` no thread is ever started and all work, HTTP included,
happens inside the calls. Guarantees: each event is delivered, or comes back in `backup_queue` exactly as it
was sent; without a queue it is kept for one, within `max_memory`, and tried again at the next flush. Not for
new programs: `HecClient` says more. How each argument maps: `python -m splunk_hec.compat --explain`.

Non-obvious: a deployment that is refused (a wrong token) ends its client, so that nothing waits for it; the
next batch tries a fresh one, so it heals by itself.
"""

from __future__ import annotations

import argparse
import functools
import sys
import threading
import time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from splunk_hec import _payloads
from splunk_hec._arguments import ARGUMENTS, explained, settings
from splunk_hec._backup import Backup
from splunk_hec._budget import Budget
from splunk_hec._holders import at_risk, know
from splunk_hec._log_lines import LogLines
from splunk_hec.client import HecClient
from splunk_hec.errors import Halted
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from splunk_hec._protocol import Transport
    from splunk_hec._stream import Stream
    from splunk_hec.config import HecConfig
    from splunk_hec.events import Outcome

LOOK_S = 0.1  # how often a flush looks whether the deployment was refused meanwhile
EXIT_S = 5.0
"""How long the end of the interpreter is held up for events that nobody flushed."""

_of_parents: list[object] = []  # never collected: their end would take a lock that nobody gives back


class splunk_hec:  # noqa: N801 -- the name that its users import
    """Sends events in batches; what fails ends in `backup_queue`. End by `stop_threads_and_processing()`."""

    def __init__(
        self,
        token: str,
        hec_server: str,
        hec_port: int | str = 8088,
        *,
        backup_queue: Any = None,
        context_id: Any = "default",
        debug_enabled: bool | str = False,
        logger: Any = None,
        **given: Any,
    ) -> None:
        """Connect to nothing yet.

        Args:
            token: The HEC token.
            hec_server: Host name of the HEC or its load balancer.
            hec_port: Its port.
            backup_queue: A queue that receives failed events, by `put_nowait`; may be set later.
            context_id: Goes into log lines.
            debug_enabled: Log each batch.
            logger: Takes the log lines; None prints them.
            **given: The other arguments, see `python -m splunk_hec.compat --explain`.

        Raises:
            TypeError: An argument is unknown; the nearest known one is named.
            ConfigError: A value is impossible.
        """
        _check_names(given)
        self._arguments = {"token": token, "hec_server": hec_server, "hec_port": hec_port, **given}
        self._params: dict[str, str] = {}
        self._config = settings(self._arguments, self._params)
        self._rotate_after = int(given.get("rotate_session_after", 10))
        has_debug = str(debug_enabled).lower() == "true"
        self._log = LogLines(context_id, hec_server, logger, has_debug=has_debug)
        self._backup = Backup(backup_queue)
        self._most_events = self._config.batch_max_events
        self._most_bytes = self._config.batch_max_bytes
        self._gathering = threading.Lock()
        self._open: list[Any] = []
        self._room_bytes = self._most_bytes
        self._events_due = 1  # the first one puts this on the list of those that hold something
        self._sending = threading.RLock()
        self._client: HecClient | None = None
        self._stream: Stream | None = None
        know(self)

    def __repr__(self) -> str:
        return f"<splunk_hec {self._config.url} | open {len(self._open)} | {self._stream!r}>"

    # -- the calls of the library ------------------------------------------------------------------------

    @property
    def backup_queue(self) -> Any:
        """Receives failed events, one by one, exactly as they were sent."""
        return self._backup.queue

    @backup_queue.setter
    def backup_queue(self, queue: Any) -> None:
        with self._sending:
            self._backup.queue = queue
            for payload, may_retry in self._backup.take(only_retryable=False):
                self._back_up([payload], may_retry=may_retry)

    def send_event(self, payload: Any) -> None:
        """Take one event; a batch that is full is sent, or handed to the threads.

        Args:
            payload: For 'raw' a line; for 'json' a ready HEC envelope as text.
        """
        self._room_bytes = room = self._room_bytes - len(payload)
        held = self._open
        held.append(payload)
        if room <= 0 or len(held) >= self._events_due:
            self._submit(self._take_full())

    def force_flush_events(self) -> None:
        """Send what was gathered; returns when all is confirmed or given up."""
        with self._sending:
            self._submit([payload for payload, _ in self._backup.take(only_retryable=True)])
            self._submit(self._take_open())
        self._settle()

    def stop_threads_and_processing(self) -> None:
        """Flush, and end the threads. The required last call."""
        self.force_flush_events()
        with self._sending:
            self._end_client()
            if self._backup:
                self._log.say(
                    "warning",
                    f"{len(self._backup)} events were not delivered and there is no backup_queue; they are"
                    " kept in memory until one is set, and lost with this process",
                )

    def set_request_params(self, params: Mapping[str, Any]) -> None:
        """Query parameters of the raw endpoint: index, sourcetype, source, host."""
        self._renew()
        self._params = {str(name): str(value) for name, value in params.items()}
        self._config = settings(self._arguments, self._params)

    def set_http_session(self, *_: Any, **__: Any) -> None:
        """Finish what is under way; the next batch opens a new session."""
        self._renew()

    def set_max_memory(self, max_memory: int) -> None:
        """Bound the memory for queued events. `max_memory`: bytes; 0 = the default."""
        self._renew()
        self._arguments["max_memory"] = max_memory
        self._config = settings(self._arguments, self._params)

    # -- to the client ------------------------------------------------------------------------------------

    # The list of open events is never replaced, only shortened: `send_event` takes no lock, and what another
    # thread adds meanwhile stands behind what is taken. The count of bytes is an estimate, as documented.

    def _take_full(self) -> list[Any]:
        """The open batch, if it is full; what makes it too large begins the next."""
        with self._gathering:
            at_risk.add(self)
            count, self._events_due = len(self._open), self._most_events
            if count < self._most_events and self._room_bytes > 0:
                return []
            is_over = count > 1 and count > self._room_bytes  # a byte each for line ends
            return self._take(count - 1 if is_over else count)

    def _take_open(self) -> list[Any]:
        with self._gathering:
            self._events_due = 1
            return self._take(len(self._open))

    def _take(self, count: int) -> list[Any]:
        taken = self._open[:count]
        del self._open[:count]
        self._room_bytes = self._most_bytes - sum(map(len, self._open))
        return taken

    def _submit(self, payloads: list[Any], timeout_s: float | None = None) -> None:
        """Encode a batch and hand it over; with `max_threads=0` it is posted here."""
        if not payloads:
            return
        with self._sending:
            client, stream = self._running()
            config = self._config
            encoded = _payloads.encode(
                payloads, client.encode, is_raw=config.endpoint == "raw", max_bytes=config.event_max_bytes
            )
            for payload, error in encoded.refused:
                self._log.say("error", f"1 event was refused before sending: {error}")
                self._back_up([payload], may_retry=False)
            lines, sent = encoded.lines, encoded.sent
            if lines:
                self._log.say("debug", f"{len(lines)} events are sent as a batch")
                try:
                    query = urlencode(self._params) if config.endpoint == "raw" else ""
                    taken = stream.submit_lines(lines, sent, query=query, timeout_s=timeout_s)
                except Halted:
                    taken = 0
                if taken < len(lines):
                    self._back_up(sent[taken : len(sent)].payloads(lines[taken:]), may_retry=True)
                if len(lines) < self._most_events:
                    stream.flush(0)  # the batch is whole: it waits for no more
            self._collect()

    def _settle(self, deadline: float = float("inf")) -> None:
        """Wait until all that was handed over is settled, or the deployment is refused, or it is too late."""
        stream = self._stream
        while stream is not None and stream is self._stream:
            unsettled = stream.flush(LOOK_S)
            self._collect()
            if not unsettled or time.monotonic() >= deadline:
                break
        with self._gathering:
            if not self._open and (self._stream is None or not self._stream.unsettled):
                at_risk.discard(self)

    def _collect(self) -> None:
        """Take the outcomes; what failed goes to the backup queue. End a client that is refused."""
        with self._sending:
            client, stream = self._client, self._stream
            if client is None or stream is None:
                return
            health = client.health() if client.has_halted else None
            is_halted = health is not None and health.halted
            if health is not None and is_halted:
                why = next(one.text for one in health.reasons if one.code != "internal")
                count = stream.unsettled
                self._end_client()
                self._log.say(
                    "error", f"HEC refuses this deployment, {count} events were not delivered: {why}"
                )
            for outcome in stream.take_failures():
                self._take_failure(outcome, is_told=is_halted)

    def _take_failure(self, outcome: Outcome, *, is_told: bool) -> None:
        if not is_told:
            why = f"{outcome.reason}: {outcome.text}" if outcome.text else outcome.reason
            self._log.say("error", f"{outcome.count} events were not delivered ({outcome.kind}): {why}")
        self._back_up(
            outcome.refs.payloads(outcome.lines), may_retry=outcome.kind is not OutcomeKind.REJECTED
        )

    def _back_up(self, payloads: Iterable[Any], *, may_retry: bool) -> None:
        """Give events back; without a queue they are kept, as many as the memory ceiling allows."""
        lost = self._backup.put(payloads, self._config.in_flight_max_bytes, may_retry=may_retry)
        if lost:
            self._log.say("error", f"{lost} events are lost: the backup queue took no more")

    # -- the client's life --------------------------------------------------------------------------------

    def _running(self) -> tuple[HecClient, Stream]:
        if self._client is None or self._stream is None:
            if self._config.urls[0].startswith("https") and not self._config.verify:
                self._log.warn_unverified()
            config = self._config
            self._client = HecClient(
                config,
                budget=Budget(config.in_flight_max_bytes, config.in_flight_max_events),
                posts_per_channel=max(0, self._rotate_after),
                transport_factory=functools.partial(_transport, config),
            )
            self._stream = self._client.stream(keeps_lines=True, tells_delivered=False)
        return self._client, self._stream

    def _renew(self) -> None:
        """Finish what is under way; what comes next meets a new client."""
        with self._sending:
            self.force_flush_events()
            self._end_client()

    def _end_client(self) -> None:
        """End the client; its stream still hands out what failed."""
        client, stream = self._client, self._stream
        self._client = self._stream = None
        if client is None or stream is None:
            return
        client.abort()
        for outcome in stream.take_failures():
            self._take_failure(outcome, is_told=True)

    def finish_at_exit(self) -> None:
        """The interpreter ends: say what was left, and flush it within a deadline."""
        unsettled = self._stream.unsettled if self._stream is not None else 0
        count = len(self._open) + unsettled
        if not count:
            return
        text = "events are at risk: the interpreter ends before stop_threads_and_processing(); flushing"
        self._log.say("warning", f"{count} {text} for {EXIT_S:g} s at most")
        deadline = time.monotonic() + EXIT_S
        if not self._sending.acquire(timeout=EXIT_S):  # a thread that waits for room has it
            self._log.say("error", f"{count} events were not confirmed before the interpreter ended")
            return
        self._submit(self._take_open(), EXIT_S)
        self._settle(deadline)
        left = self._stream.unsettled if self._stream is not None else 0
        if left:
            self._log.say("error", f"{left} events were not confirmed before the interpreter ended")
        self._end_client()
        self._sending.release()

    def forget_parent(self) -> None:
        """In a forked child: what is held is the parent's to send, and its locks may be held for ever."""
        _of_parents.append((self._client, self._stream))
        self._client = self._stream = None
        self._gathering, self._sending = threading.Lock(), threading.RLock()
        self._backup = Backup(self._backup.queue)
        self._open.clear()
        self._room_bytes, self._events_due = self._most_bytes, 1


def _check_names(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in ARGUMENTS:
            near = get_close_matches(name, ARGUMENTS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"splunk_hec() got an unexpected keyword argument {name!r}{hint}")


def _transport(config: HecConfig) -> Transport:
    # Imported when the first batch is sent: requests takes longer to import than all the rest.
    from splunk_hec._transport import RequestsTransport  # noqa: PLC0415

    return RequestsTransport(config, has_connection_per_channel=True, warns=False)


def main(arguments: list[str] | None = None) -> int:
    """Explain the arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m splunk_hec.compat")
    parser.add_argument("--explain", action="store_true", required=True, help="how each argument maps")
    parser.parse_args(arguments)
    sys.stdout.write(explained())
    return 0


if __name__ == "__main__":
    sys.exit(main())
