"""Replays letters to Splunk, by the configured routes and the sink's own delivery.

Guarantees: what counts as replayed is acknowledged; what is refused again is a dead letter again, its replays
counted up; with provenance an event says the place of the original, so that it closes the gap there.

Non-obvious: the ledger wants the offsets of a partition in order and each once, but letters come as they were
written. So they are delivered in rounds, each sorted, under assignment epochs of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from splunk_hec_kafka.config import require
from splunk_hec_kafka.delivery import Delivery
from splunk_hec_kafka.failures import SinkFailure
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition, place
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.readying import await_hec, end_if_halted
from splunk_hec_kafka.replay_rules import restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.replay_rules import Left
    from splunk_hec_kafka.stored_letter import StoredLetter

ROUND = 5_000
_ROUND_BYTES = 33_554_432
_CHUNK = 500
_TURN_S = 0.1


class ReplayToSplunk:
    """Where letters go with `--to splunk`. One thread's."""

    def __init__(self, config: SinkConfig, is_stopped: Callable[[], bool], rate: float | None) -> None:
        """Ask Splunk whether it takes this deployment, for as long as the patience lasts.

        Args:
            config: The sink's.
            is_stopped: Whether nobody waits any more.
            rate: Letters a second, so that a round is no longer than a second of them.

        Raises:
            ConfigError: A needed key is missing, or a value is wrong.
            SinkFailure: Splunk refuses the deployment (exit 5).
        """
        require(config, ("hec.url", "hec.token"))
        self._hec = config.hec
        self._is_stopped = is_stopped
        self._ledger = OffsetLedger()
        self._delivery = Delivery(config, self._ledger, Metrics())
        self._round: dict[tuple[TopicPartition, int], Message] = {}
        self._round_bytes = 0
        self._most = ROUND if rate is None else min(ROUND, max(1, int(rate)))
        try:
            await_hec(self._delivery, config.hec, is_stopped, _told, THE_WORLD)
        except SinkFailure:
            self._delivery.close()
            raise

    @property
    def replayed(self) -> int:
        """Letters whose records are acknowledged."""
        return self._delivery.delivered

    @property
    def refused_again(self) -> int:
        """Letters whose records are dead letters again."""
        return self._delivery.dead_lettered

    @property
    def skipped(self) -> int:
        """Letters whose records a route drops."""
        return self._delivery.skipped

    @property
    def unsettled(self) -> int:
        """Letters that were taken and have no outcome yet."""
        return len(self._round) + self._ledger.open_count()

    def refusal(self, _letter: StoredLetter) -> Left | None:
        """Why a letter cannot go there: never."""
        return None

    def take(self, letter: StoredLetter) -> None:
        """Send its record with the next round; waits for the round before it.

        Raises:
            SinkFailure: Splunk, or the dead-letter topic, failed for good.
        """
        record = restored(letter)
        if place(record) in self._round:  # a topic that was made anew has another record there
            self._deliver()
        self._round[place(record)] = record
        self._round_bytes += len(letter.value or b"")
        if len(self._round) >= self._most or self._round_bytes >= _ROUND_BYTES:
            self._deliver()

    def serve(self, timeout_s: float) -> None:
        """Take outcomes, for at most so long.

        Raises:
            SinkFailure: As for `take`.
        """
        self._delivery.submit()
        self._delivery.seal()
        self._delivery.wait(timeout_s)
        self._delivery.settle()
        self._raise_if_halted()

    def is_settled(self) -> bool:
        """Send what waits for its round, unless nobody waits any more; whether everything is settled.

        Raises:
            SinkFailure: As for `take`.
        """
        if not self._is_stopped():
            self._deliver()
        return not self.unsettled

    def close(self) -> None:
        """Stop at once."""
        self._delivery.close()

    def _deliver(self) -> None:
        """Deliver the round, and wait for its outcomes unless nobody waits any more."""
        records = [self._round[at] for at in sorted(self._round)]
        self._round, self._round_bytes = {}, 0
        self._ledger.assign({place(record)[0]: None for record in records})
        for start in range(0, len(records), _CHUNK):
            chunk = records[start : start + _CHUNK]
            self._ledger.open(chunk, time.monotonic())
            self._delivery.take(chunk)
        while self._ledger.open_count() and not self._is_stopped():
            self.serve(_TURN_S)

    def _raise_if_halted(self) -> None:
        healths = {to: client.health() for to, client in self._delivery.clients.items()}
        end_if_halted(self._delivery, healths, self._hec)


def _told(_reason: str, _text: str) -> None:
    """`await_hec` logs a refusal itself."""
