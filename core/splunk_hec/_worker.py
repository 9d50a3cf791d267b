"""Runs one lane: takes its actions to the wire and its effects to the queue.

Not for decisions: every one of them is the lane's. Guarantees: nothing that happens here leaves a batch
without an owner; an exception ends in `on_fault` with the lane evacuated.

Non-obvious: `_owning` is held whenever the lane is touched, or waits for a batch (stopping ends that at
once), and free while a request is under way, so that `close` can take over a lane whose request hangs. A turn
that leaves the reply to a POST to a later turn leaves the lane alone until then: it knows of one at a time.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING

from splunk_hec import _protocol as protocol
from splunk_hec._actions import NOTHING, PollAcks, Post, Probe, Rest, Settled, Wait
from splunk_hec._under_way import Answered, Pace, StartingTransport
from splunk_hec.errors import ConfigError, one_line
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec._actions import Effects, LaneHealth
    from splunk_hec._batching import Batch, Codec
    from splunk_hec._budget import Budget
    from splunk_hec._lane import Lane
    from splunk_hec._queue import BatchQueue
    from splunk_hec._under_way import UnderWay
    from splunk_hec.config import HecConfig
    from splunk_hec.observe import Cause, Observer

log = logging.getLogger("splunk_hec")

_FAULT = "a lane to %s failed; its batches move to a fresh one"
_LOOK_S = 1.0


class Wire:
    """Builds requests of one client. Immutable: any thread."""

    def __init__(self, config: HecConfig, token: Callable[[], str], codec: Codec | None) -> None:
        self.codec = codec
        self._path = protocol.RAW_PATH if config.endpoint == "raw" else protocol.EVENT_PATH
        self._deadline_s = config.request_deadline_s
        self._token = token

    def post(self, url: str, batch: Batch, channel: str) -> protocol.Request:
        """A batch, compressed as configured."""
        body = batch.wire(self.codec)
        encoding = "" if self.codec is None or batch.is_plain else self.codec.encoding
        path = f"{self._path}?{batch.query}" if batch.query else self._path
        return self._request(url, path, body, channel, encoding)

    def probe(self, url: str, channel: str) -> protocol.Request:
        """An empty POST: refused with code 5 where all is well."""
        return self._request(url, self._path, b"", channel)

    def acks(self, url: str, ids: list[int], channel: str) -> protocol.Request:
        """An ack query."""
        return self._request(url, protocol.ACK_PATH, protocol.ack_query(ids), channel)

    def _request(
        self, url: str, path: str, body: bytes, channel: str, encoding: str = ""
    ) -> protocol.Request:
        # Always with a User-Agent: without one, splunkd answers in HTTP/1.0 and closes (forceHttp10=auto).
        headers = {
            "Authorization": f"Splunk {self._token()}",
            "Content-Type": "application/json",
            "User-Agent": "splunk-hec-sink",
        }
        if channel:
            headers[protocol.CHANNEL_HEADER] = channel
        if encoding:
            headers["Content-Encoding"] = encoding
        return protocol.Request(url, path, headers, body, channel, self._deadline_s)


def tell_resend(observer: Observer, batch: Batch, cause: Cause) -> None:
    """Count that a batch is sent again, and say which: whoever finds a duplicate finds its cause here."""
    observer.count("resends", 1, cause=cause)
    if log.isEnabledFor(logging.DEBUG):
        log.debug("batch %s is sent again: %s%s", _told(batch), cause, _places(batch))


def tell_settled(item: Settled, url: str) -> None:
    """Say how a batch ended: at debug, but for what ends without anybody having judged it."""
    is_lost = item.kind is OutcomeKind.UNCONFIRMED or (
        item.kind is OutcomeKind.GAVE_UP and item.reason not in ("aborted", "closed")
    )
    level = logging.WARNING if is_lost else logging.DEBUG
    if log.isEnabledFor(level):
        why = f": {item.reason}" if item.reason else ""
        why += f" ({one_line(item.text)})" if item.text else ""
        after = f" after {item.ack_latency_s:.3f} s" if item.ack_latency_s else ""
        batch = item.batch
        log.log(
            level, "batch %s %s%s%s by %s%s", _told(batch), item.kind.value, after, why, url, _places(batch)
        )


def _told(batch: Batch) -> str:
    ack_id = "none" if batch.ack_id is None else batch.ack_id
    return f"{batch.id} ({batch.count} events, attempt {batch.attempts}, ackId {ack_id})"


def _places(batch: Batch) -> str:
    """Where its events came from, if the manifest knows; a caller's refs may hold anything: never shown."""
    tell: Callable[[], str] | None = getattr(batch.manifest, "places", None)
    return "" if tell is None else f" {tell()}"


class Worker:
    """One lane, one transport; run by one thread, or turned by the caller."""

    def __init__(
        self,
        lane: Lane,
        transport: protocol.Transport,
        wire: Wire,
        *,
        queue: BatchQueue,
        budget: Budget,
        observer: Observer,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.lane = lane
        self.url = lane.settings.url
        self.health: LaneHealth = lane.health()
        self._transport = transport
        self._starter = transport if isinstance(transport, StartingTransport) else None  # a slow question
        self._wire = wire
        self._queue = queue
        self._budget = budget
        self._observer = observer
        self._clock = clock
        self._wall = wall
        self._owning = threading.Lock()
        self._is_retired = False
        self._pace = Pace()
        self._left: tuple[Post, UnderWay] | None = None  # a POST whose reply is still to be taken

    def __repr__(self) -> str:
        return f"<Worker {self.lane!r}>"

    def run(self, on_fault: Callable[[Worker, Exception], None]) -> None:
        """The thread's whole life: turn until the client stops."""
        try:
            while not self._queue.is_stopping and not self._is_retired:
                self.turn(may_wait=True)
        except Exception as error:  # the outermost frame: whatever it is, the batches need a new owner
            log.exception(_FAULT, self.url)
            on_fault(self, error)
        finally:
            self._transport.close()

    def run_due(
        self, deadline: float, on_fault: Callable[[Worker, Exception], None], *, leaves_reply: bool
    ) -> float:
        """Without a thread: turn while there is something to do, till `deadline`; returns when to go on."""
        try:
            while (until := self.turn(may_wait=False, leaves_reply=leaves_reply)) is None:
                if self._clock() >= deadline:
                    return deadline
        except Exception as error:  # as above
            log.exception(_FAULT, self.url)
            self._transport.close()
            on_fault(self, error)
            return self._clock()
        return until

    def close(self) -> None:
        """Close the connections; for a worker that has no thread."""
        self._transport.close()

    def turn(self, *, may_wait: bool, leaves_reply: bool = False) -> float | None:
        """One step.

        Args:
            may_wait: Wait where the lane has nothing to do. False: return instead.
            leaves_reply: While batches come quickly, wait for the reply to one only when the next is there.

        Returns:
            None if something was done; else the monotonic time before which there is nothing to do.
        """
        self._budget.release(*self._queue.reap())
        if self._left is not None:
            post, under_way = self._left
            is_answered = under_way.is_answered()
            if leaves_reply and not is_answered and not self._queue.has_sealed:
                return self._clock()
            self._left = None
            self._take_reply(post, under_way.reply(), is_waited_for=not is_answered)
            return None
        with self._owning:
            if self._is_retired:
                return math.inf
            action = self.lane.next(self._clock())
        match action:
            case Wait(until):
                self._finish_step()
                return self._wait(until, may_wait=may_wait)
            case Rest(until):
                self._finish_step()
                return self._rest(until, may_wait=may_wait)
            case Post():
                self._pace.note_start(self._clock())
                under_way = self._start(action)
                if leaves_reply and self._pace.is_quick:
                    self._left = action, under_way
                    return self._clock()
                self._take_reply(action, under_way.reply())
            case _:
                self._take_reply(action, self._start(action).reply())
        return None

    def retire(self) -> list[Batch]:
        """Take the lane away from this worker, even while a request is under way; returns its batches."""
        with self._owning:
            self._is_retired = True
            batches, effects = self.lane.work.evacuate(), self.lane.take_effects()
        self._hand_over(effects)
        return batches

    def _wait(self, until: float, *, may_wait: bool) -> float | None:
        """Take nothing but what is to be given up: a lane that waits for long would let it grow old."""
        oldest_s = self.lane.settings.give_up_after_s
        if oldest_s:
            now = self._clock()
            until = min(until, now + _LOOK_S)
            with self._owning:  # from the queue to the lane, as in `_rest`
                overdue = [] if self._is_retired else self._queue.overdue(now - oldest_s)
                for batch in overdue:
                    self.lane.give(batch)
            if overdue:
                return None
        if may_wait:
            self._queue.sleep(until)
        return until

    def _rest(self, until: float, *, may_wait: bool) -> float | None:
        # Held while it waits, which a stop ends: or `retire` could come when the batch is nowhere.
        with self._owning:
            if self._is_retired:
                return None
            batch = self._queue.take(until if may_wait else self._clock())
            if batch is None:
                return until
            self.lane.give(batch)
        return None

    def _start(self, action: Post | PollAcks | Probe) -> UnderWay:
        try:
            match action:
                case Post(batch, channel):
                    request = self._wire.post(self.url, batch, channel.id)
                    saved = self._queue.give_back(batch, batch.take_saving())
                    self._budget.release(saved, 0)
                case PollAcks(channel, ids):
                    request = self._wire.acks(self.url, ids, channel.id)
                case Probe(channel):
                    request = self._wire.probe(self.url, channel.id)
        except ConfigError as error:  # the token's file or variable went away: nothing was sent
            return Answered(protocol.TransportError("token", str(error), maybe_sent=False))
        if self._starter is None:
            return Answered(self._transport.send(request))
        return self._starter.start(request)

    def _take_reply(
        self,
        action: Post | PollAcks | Probe,
        reply: protocol.Reply | protocol.TransportError,
        *,
        is_waited_for: bool = True,
    ) -> None:
        answer = protocol.read(reply)
        code = "" if answer.code is None else str(answer.code)
        self._observer.count("requests", 1, status=str(answer.status), code=code)
        with self._owning:
            if self._is_retired:
                return
            now = self._clock()
            match action:
                case Post():
                    if is_waited_for:
                        self._pace.note_reply(now)
                    self.lane.on_post(action, reply, now, self._wall())
                case PollAcks():
                    self.lane.on_acks(action, reply, now)
                case Probe():
                    self.lane.on_probe(action, reply, now)
        self._finish_step()

    def _finish_step(self) -> None:
        with self._owning:
            effects = self.lane.take_effects()
            self.health = self.lane.health()
        if effects is NOTHING:
            return
        try:
            self._tell(effects)
        finally:  # whatever an observer does, no batch is left without an owner
            self._hand_over(effects)

    def _tell(self, effects: Effects) -> None:
        for channel in effects.gone:
            self._transport.forget(channel)
        for note in effects.notes:
            log.warning("%s", note)
        for cause, batch in effects.resends:
            tell_resend(self._observer, batch, cause)
        for retired in effects.retired:
            self._observer.count("channels_retired", 1, cause=retired)
            log.debug("%s: a channel is retired: %s", self.url, retired)
        for item in effects.settled:
            tell_settled(item, self.url)
            if not item.batch.owner.is_aborted:
                self._observer.count("events", item.batch.count, outcome=item.kind.value)
            if item.ack_latency_s:
                self._observer.count("ack_latency_seconds", item.ack_latency_s)

    def _hand_over(self, effects: Effects) -> None:
        settled = effects.settled
        if effects.surrendered and not self._queue.put_back(effects.surrendered):
            late = [Settled(batch, OutcomeKind.GAVE_UP, "closed") for batch in effects.surrendered]
            settled = settled + late
        if settled:
            self._budget.release(*self._queue.settle(settled, self.url))
