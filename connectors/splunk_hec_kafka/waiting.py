"""Lines that no client has yet, and the records they are of.

Values only. Not for when they go (`delivery`). Guarantee: whatever is taken out, what stays keeps its lines,
their order and its share of the budget.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from splunk_hec._block import Block
from splunk_hec_kafka.originals import Records
from splunk_hec_kafka.routes import Destination


class Waiting(msgspec.Struct):
    """Lines for one destination and query; line i is of record i.

    Attributes:
        to: Where they go.
        query: The raw endpoint's query, else empty.
        lines: The lines.
        records: Their records.
        held_bytes: What keeping the records costs.
    """

    to: Destination
    query: str
    lines: Block
    records: Records
    held_bytes: int

    def part(self, start: int, stop: int) -> Waiting:
        """Some of them."""
        held_bytes = self.held_bytes * stop // len(self.lines) - self.held_bytes * start // len(self.lines)
        return Waiting(self.to, self.query, self.lines[start:stop], self.records[start:stop], held_bytes)

    def only(self, stays: list[bool]) -> list[Waiting]:
        """What stays of them, in pieces."""
        edges = [0, *(at for at in range(1, len(stays)) if stays[at] is not stays[at - 1]), len(stays)]
        return [self.part(start, stop) for start, stop in pairwise(edges) if stays[start]]
