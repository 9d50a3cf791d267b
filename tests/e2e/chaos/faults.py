"""The catalogue of faults. What each does stands in `sink_faults`, `kafka_faults` and `hec_faults`.

`resources` are what a fault needs for itself; two faults with one in common never overlap, all others may.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import NamedTuple

from . import hec_faults as hec
from . import kafka_faults as kafka
from . import sink_faults as sink
from .world import World

Run = Callable[[World, random.Random, float], None]


class Fault(NamedTuple):
    """A kind of fault. `run` is given the world, its own chance, and about how many seconds to last."""

    name: str
    run: Run
    resources: tuple[str, ...] = ()
    needs: str = ""


WEATHER = {
    "latency": 0.5, "partition": 1.0, "drip": 0.1,
    "reset-request": 0.1, "reset-reply": 0.1, "reset-after": 0.2, "cut-reply": 0.1,
}  # fmt: skip
RULES = {
    "busy": "busy,p=0.8", "busy-prefix": "busy:3,p=0.5", "throttle": "throttle:2,p=0.6",
    "throttle-date": "throttle:date+2/2,p=0.4", "queue-full": "queue-full,p=0.7",
    "near-capacity": "near-capacity,p=0.5", "error500": "error500,p=0.4",
    "error500-taken": "error500:taken,p=0.1", "ack-never": "ack-never,p=0.1",
    "lose-after-200": "lose-after-200,p=0.1", "ack-400": "ack-error:400,p=0.7",
    "ack-404": "ack-error:404,p=0.7", "ack-503": "acks-down,p=0.8", "ack-lost": "ack-lost,p=0.5",
    "ack-html": "html200,on=ack,p=0.6", "ack-cut": "cut-body,on=ack,p=0.5",
    "ack-drip": "drip:0.1,on=ack,p=0.3", "reply-drip": "drip:0.1,p=0.3", "hang": "hang,p=0.2",
    "reset-before": "reset-before,p=0.3", "reset-after-served": "reset-after,p=0.1",
    "cut-status": "cut-status,p=0.1", "cut-headers": "cut-headers,p=0.1", "cut-body": "cut-body,p=0.1",
    "empty200": "empty200,p=0.3", "html200": "html200,p=0.3", "html503": "html503,p=0.3",
    "restart-on-post": "restart,p=0.05", "restart-reset": "restart:reset,p=0.05",
}  # fmt: skip
KILLS = [
    Fault("kill", sink.kill),
    Fault("kill-posting", sink.kill_posting),
    Fault("kill-accepted", sink.kill_accepted),
    Fault("kill-after-letter", sink.kill_after_letter),
]
OTHERS = [
    Fault("freeze", sink.freeze),
    Fault("leave-and-join", sink.leave_and_join, ("b",)),
    Fault("other-protocol", sink.other_protocol, ("a", "b")),
    Fault("clock", sink.jump_clock, ("clock",), needs="clock"),
    Fault("full-disk", sink.full_disk, ("a",), needs="full-disk"),
    Fault("broker-stop", kafka.broker_stop, ("broker",)),
    Fault("broker-kill", kafka.broker_kill, ("broker",)),
    Fault("broker-stall", kafka.broker_stall, ("broker",)),
    Fault("retention", kafka.retention, ("broker", "a", "b")),
    Fault("letters-too-large", kafka.letters_too_large, ("letters",)),
    Fault("letters-deleted", kafka.letters_deleted, ("letters", "broker")),
    Fault("letters-refused", kafka.letters_refused, ("letters",)),
    Fault("hec-kill", hec.hec_kill, ("hec",)),
    Fault("hec-stall", hec.hec_stall, ("hec",)),
    Fault("node-restart", hec.node_restart, ("hec",)),
    Fault("token-revoked", hec.token_revoked, ("hec",)),
    Fault("index-missing", hec.index_missing, ("hec",)),
    Fault("wrong-node", hec.wrong_node, ("way",)),
    Fault("resets", hec.resets, ("way",)),
    *(Fault(name, hec.with_weather(name, value), (f"weather {name}",)) for name, value in WEATHER.items()),
    *(Fault(name, hec.with_rule(rule), (f"rule {name}",)) for name, rule in RULES.items()),
]


class Locks:
    """What faults need for themselves; made on first use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def of(self, name: str) -> threading.Lock:
        """The lock of a resource."""
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())
