"""What the sink meets of the world outside: clients of Kafka and of Splunk, the clock, and waiting.

Values only; the defaults are the real things. Not for settings (those are the configuration's). It is there
so that the whole sink, loop and all, also runs where nothing is real: without threads, on a clock that moves
when it is told to (`tests/simulation`).
"""

from __future__ import annotations

import time
from importlib import import_module
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from splunk_hec._budget import Budget
from splunk_hec.client import HecClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec.events import Outcome


def _registry(properties: dict[str, Any]) -> Any:
    library: Any = import_module("confluent_kafka.schema_registry")  # of an extra
    return library.SchemaRegistryClient.new_client(properties)


def _sleep(seconds: float) -> None:
    Event().wait(seconds)


def _run_within(seconds: float, what: Callable[[], object]) -> bool:
    thread = Thread(target=what, name="within-a-time", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class Outside(NamedTuple):
    """How the sink makes its clients, and how it spends time.

    Attributes:
        consumer: Makes the consumer, as `confluent_kafka.Consumer` is made.
        producer: Makes the producer of dead letters, as `confluent_kafka.Producer` is made.
        admin: Makes a client that looks at the dead-letter topic.
        hec: Makes a client of Splunk, as `HecClient` is made.
        registry: Makes a client of a schema registry out of its properties.
        clock: Monotonic seconds.
        sleep: Lets so many seconds pass.
        wait: Waits until something of this budget is released, at most so many seconds.
        run_within: Runs something that may hang, at most so many seconds; whether it ended.
        trace: Is told of each batch's outcome, on the loop's thread.
    """

    consumer: Callable[..., Consumer] = Consumer
    producer: Callable[..., Producer] = Producer
    admin: Callable[..., AdminClient] = AdminClient
    hec: Callable[..., HecClient] = HecClient
    registry: Callable[[dict[str, Any]], Any] = _registry
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = _sleep
    wait: Callable[[Budget, float], None] = Budget.wait
    run_within: Callable[[float, Callable[[], object]], bool] = _run_within
    trace: Callable[[Outcome], None] | None = None


THE_WORLD = Outside()
