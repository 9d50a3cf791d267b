"""A client without threads on a clock that stands still, over a transport that follows a script."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from splunk_hec import HecClient, HecConfig
from splunk_hec._protocol import ACK_PATH
from splunk_hec.testing import ManualClock, ScriptedTransport, accepted, acks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from splunk_hec._budget import Budget
    from splunk_hec.testing import Reply, Request, TransportError

    Item = Reply | TransportError | Callable[[Request], Reply | TransportError]


class Counts(Counter[str]):
    """An observer: counts by `name` and `name/labels`."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add it up."""
        self["/".join([name, *labels.values()])] += 1 if name.endswith("seconds") else int(amount)


class Desk:
    """A client, its script, its clock and its counts. `reply` adds to the script."""

    def __init__(
        self,
        *script: Item,
        configured_indexes: Collection[str] = (),
        budget: Budget | None = None,
        transports: Iterable[ScriptedTransport] | None = None,
        **settings: object,
    ) -> None:
        self.wire = ScriptedTransport(script)
        self.clock = ManualClock()
        self.counts = Counts()
        defaults = {
            "url": "http://test",
            "token": "t",
            "batch_max_events": 1,
            "gzip": "off",
            "threads": False,
        }
        own = iter(transports) if transports is not None else None
        self.hec = HecClient(
            HecConfig(**{**defaults, **settings}),  # type: ignore[arg-type]
            transport_factory=lambda: self.wire if own is None else next(own),
            observer=self.counts,
            configured_indexes=configured_indexes,
            budget=budget,
            clock=self.clock,
        )

    def reply(self, *script: Item) -> None:
        """The next answers."""
        self.wire.script.extend(script)

    def later(self, seconds: float = 1.0) -> None:
        """Let time pass, then let the client work."""
        self.clock.advance(seconds)
        self.hec._crew.turn()

    @property
    def posted(self) -> list[list[object]]:
        """The events of each POST so far."""
        return [
            [json.loads(line)["event"] for line in request.body.split(b"\n")]
            for request in self.wire.requests
            if request.path != ACK_PATH and request.body
        ]


_IDS: Counter[str] = Counter()


def accept_each(request: Request) -> Reply:
    """Accept whatever is posted and confirm whatever is asked: ids count from 1 on each channel."""
    if request.path == ACK_PATH:
        return acks(dict.fromkeys(json.loads(request.body)["acks"], True))
    _IDS[request.channel] += 1
    return accepted(_IDS[request.channel])
