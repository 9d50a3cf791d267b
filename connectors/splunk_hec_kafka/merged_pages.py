"""The pages of several sink processes as one: metrics, readiness, liveness.

Not for running the processes (`supervisor`). The rule for metrics, with the names and labels of a single
process: counters and histograms are added up, what is in flight too; of any other gauge the largest value
counts (a partition's offset and lag are told by its owner alone). Non-obvious: what a process had counted
when it was last asked is kept when it is started again, so that a merged counter never falls.
"""

from __future__ import annotations

import http.client
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from splunk_hec_kafka.server import Readiness, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ASK_S = 2.0
_ADDED_GAUGES = ("hec_sink_in_flight_bytes", "hec_sink_in_flight_events")

Series = tuple[str, tuple[tuple[str, str], ...]]
Page = dict[str, tuple[Metric, dict[Series, float]]]
"""Family name → the family, and the value of each of its series."""


class ProcessPages:
    """The pages of one sink process, however often it is started again. Any thread may ask.

    Attributes:
        port: Where it listens; 0 while it does not.
        text: What it does while it does not listen, for people.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._carried: Page = {}
        self._last: Page = {}
        self._since = time.time()
        self.port = 0
        self.text = "starts"

    def started(self, port: int) -> None:
        """It listens."""
        self.port = port

    def ended(self, text: str) -> None:
        """It does not run any more; `text` says why and what follows."""
        self._carried = merge([self._carried, counters(self._last)])
        self._last = {}
        self._since = time.time()
        self.port, self.text = 0, text

    def metrics(self) -> Page:
        """Its metrics now, with what it counted before it was started again."""
        found = self._ask("/metrics")
        if found is not None:
            self._last = read_page(found[1].decode())
        return merge([self._carried, self._last])

    def is_alive(self) -> bool:
        """Whether its loop turns; a process that is being started is not held to be dead."""
        found = self._ask("/livez")
        return found is None or found[0] == http.client.OK

    def readiness(self) -> Readiness:
        """Its readiness, every reason with the number of the process."""
        found = self._ask("/readyz")
        if found is None:
            return Readiness(False, (Reason("process", f"process {self._number} {self.text}", self._since),))
        told = json.loads(found[1])
        reasons = tuple(
            Reason(
                one["code"],
                f"process {self._number}: {one['text']}",
                datetime.fromisoformat(one["since"]).timestamp(),
            )
            for one in told["reasons"]
        )
        return Readiness(told["ready"], reasons)

    def _ask(self, path: str) -> tuple[int, bytes] | None:
        port = self.port
        if not port:
            return None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class MergedPages(Collector):
    """The pages of all processes; what `StatusServer` serves for them."""

    def __init__(self, pages: list[ProcessPages]) -> None:
        self._pages = pages

    @property
    def registry(self) -> Collector:
        """Itself: asked anew for each page."""
        return self

    def collect(self) -> Iterator[Metric]:
        """All metrics, merged."""
        for family, values in merge([one.metrics() for one in self._pages]).values():
            merged = Metric(family.name, family.documentation, family.type)
            for (name, labels), value in values.items():
                merged.add_sample(name, dict(labels), value)
            yield merged

    def is_alive(self) -> bool:
        """Whether every running process's loop turns."""
        return all(one.is_alive() for one in self._pages)

    def readiness(self) -> Readiness:
        """Ready when all are."""
        all_of = [one.readiness() for one in self._pages]
        reasons = tuple(reason for one in all_of for reason in one.reasons)
        return Readiness(all(one.ready for one in all_of), reasons)


def read_page(text: str) -> Page:
    """A page in Prometheus' text format."""
    return {
        family.name: (
            family,
            {(one.name, tuple(sorted(one.labels.items()))): one.value for one in family.samples},
        )
        for family in text_string_to_metric_families(text)
    }


def merge(pages: Iterable[Page]) -> Page:
    """Pages of several processes as one, by the rule above. Pure."""
    merged: Page = {}
    for page in pages:
        for name, (family, values) in page.items():
            _, so_far = merged.setdefault(name, (family, {}))
            for series, value in values.items():
                old = so_far.get(series)
                if old is None:
                    so_far[series] = value
                else:
                    so_far[series] = old + value if _is_added(family) else max(old, value)
    return merged


def counters(page: Page) -> Page:
    """What of a page outlives its process."""
    return {name: one for name, one in page.items() if one[0].type in ("counter", "histogram")}


def _is_added(family: Metric) -> bool:
    return family.type in ("counter", "histogram") or family.name in _ADDED_GAUGES
