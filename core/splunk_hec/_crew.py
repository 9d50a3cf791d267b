"""The lanes of one client: started, turned, replaced when one fails, stopped.

Not for events or outcomes. Guarantees: a worker that fails hands its batches to a fresh lane, once; when all
is stopped, every batch that is left is settled as gave_up. Threads: any; each worker has its own, or, without
threads, whoever calls `turn` works for all of them, one caller at a time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from random import Random
from typing import TYPE_CHECKING

from splunk_hec._actions import LaneSettings, Settled
from splunk_hec._lane import Lane
from splunk_hec._worker import Wire, Worker, tell_resend
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec._actions import LaneHealth
    from splunk_hec._batching import Batch
    from splunk_hec._budget import Budget
    from splunk_hec._protocol import Transport
    from splunk_hec._queue import BatchQueue
    from splunk_hec.config import HecConfig
    from splunk_hec.observe import Observer

log = logging.getLogger("splunk_hec")

JOIN_S = 1.0
"""How long `stop` waits for workers whose requests hang; their batches are settled without them then."""
LOOK_AGAIN_S = 0.5


class Crew:
    """Workers and threads of one client.

    Attributes:
        workers: One a lane; empty before `start`.
        fault: What failed in a lane, for people; empty if nothing did.
    """

    def __init__(
        self,
        config: HecConfig,
        wire: Wire,
        transport_factory: Callable[[], Transport],
        *,
        configured_indexes: frozenset[str],
        posts_per_channel: int,
        queue: BatchQueue,
        budget: Budget,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self.workers: list[Worker] = []
        self.fault = ""
        self._config = config
        self._wire = wire
        self._transport_factory = transport_factory
        self._configured = configured_indexes
        self._posts_per_channel = posts_per_channel
        self._queue = queue
        self._budget = budget
        self._observer = observer
        self._clock = clock
        self._random = random
        self._guard = threading.Lock()
        self._turning = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_stopped = False

    def health(self) -> list[tuple[str, LaneHealth]]:
        """Each lane's url and how it sees it; any thread, never blocks."""
        return [(worker.url, worker.health) for worker in self.workers]

    @property
    def has_halted(self) -> bool:
        """Whether any lane is halted: a cheap look before a thorough one."""
        return any(worker.health.halted for worker in self.workers)

    def turn(self, deadline: float = math.inf) -> float:
        """Without threads: step each lane until none has anything to do; returns when to look again."""
        return min(self._clock() + LOOK_AGAIN_S, self.work(deadline))

    def work(self, deadline: float = math.inf, *, leaves_reply: bool = False) -> float:
        """The same; returns when a lane will have something to do.

        Args:
            deadline: Monotonic; no step begins later.
            leaves_reply: See `Worker.turn`.
        """
        wake = math.inf
        if self._is_stopped or not self._turning.acquire(blocking=False):
            return wake  # another caller is at it: a lane and its transport are one caller's at a time
        try:
            self._queue.seal_lingering()
            for worker in self.workers:
                wake = min(wake, worker.run_due(deadline, self._on_fault, leaves_reply=leaves_reply))
        finally:
            self._turning.release()
        return wake

    def start(self) -> None:
        """Make the lanes, and their threads, if that is not done yet."""
        with self._guard:
            if self.workers:
                return
            urls = self._config.urls
            count = max(len(urls), self._config.lanes) if self._config.threads else len(urls)
            workers = [self._new_worker(urls[number % len(urls)]) for number in range(count)]
            self.workers = workers
            if self._config.threads:
                for worker in workers:
                    self._start_thread(worker)

    def _start_thread(self, worker: Worker) -> None:
        thread = threading.Thread(
            target=worker.run, args=(self._on_fault,), name=f"hec-lane-{len(self._threads)}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _new_worker(self, url: str, *, has_acks: bool = False) -> Worker:
        config = self._config
        settings = LaneSettings(
            url=url,
            acks=None if config.ack == "auto" and not has_acks else config.ack != "off",
            raw=config.endpoint == "raw",
            ack_deadline_s=config.ack_deadline_s,
            resend_on_ack_timeout=config.on_ack_timeout == "resend",
            give_up_after_s=config.give_up_after_s,
            may_leave=len(config.urls) > 1,
            posts_per_channel=self._posts_per_channel,
            configured_indexes=self._configured,
        )
        lane = Lane(
            settings,
            random=Random(self._random.getrandbits(64)),  # noqa: S311 -- jitter, not secrets
            new_channel_id=self._new_channel_id,
            codec=self._wire.codec,
        )
        return Worker(
            lane,
            self._transport_factory(),
            self._wire,
            queue=self._queue,
            budget=self._budget,
            observer=self._observer,
            clock=self._clock,
            wall=time.time,
        )

    def _new_channel_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4)).upper()

    def _on_fault(self, worker: Worker, error: Exception) -> None:
        """A worker died of an exception: its batches move to a fresh lane, once."""
        self.fault = f"a lane failed: {type(error).__name__}"
        batches = worker.retire()
        for batch in batches:
            batch.moves += 1
            if batch.attempts:  # it may have been taken
                tell_resend(self._observer, batch, "unknown_reply")
        # Sorted before any is handed on: the next owner may fail at once, and count its own move.
        doomed = [batch for batch in batches if batch.moves > 1]
        movable = [batch for batch in batches if batch.moves == 1]
        if not self._queue.put_back(movable):
            self._give_up(movable, "closed", worker.url)
        with self._guard:
            if not self._is_stopped:
                # What had acknowledgements must not be taken for delivered without them.
                fresh = self._new_worker(worker.url, has_acks=bool(worker.lane.acks))
                self.workers = [fresh if one is worker else one for one in self.workers]
                if self._config.threads:
                    self._start_thread(fresh)
        self._give_up(doomed, "internal", worker.url)

    def _give_up(self, batches: list[Batch], reason: str, url: str = "") -> None:
        settled = [Settled(batch, OutcomeKind.GAVE_UP, reason) for batch in batches]
        self._budget.release(*self._queue.settle(settled, url))
        for item in settled:
            self._observer.count("events", item.batch.count, outcome=item.kind.value)

    def stop(self) -> None:
        """End all lanes and settle what is left as gave_up."""
        with self._guard:
            self._is_stopped = True
        self._queue.stop()
        self._budget.wake()
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        for worker in self.workers:
            self._give_up(worker.retire(), "closed", worker.url)
            if not self._config.threads:
                worker.close()
        self._give_up(self._queue.drain(), "closed")
