"""What a check found: violations by equation, each counted, a few of each shown; and figures.

Values and counting only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

SHOWN = 8
EQUATIONS = {
    "E1": "no loss: what the broker took is indexed, dead-lettered, or was deleted unread and reported",
    "E2": "no invention: nothing is indexed or dead-lettered that was not produced",
    "E3": "nothing is both indexed and dead-lettered",
    "E4": "nothing is committed that is not resolved, at any commit and any sample",
    "E5": "committed offsets never go back",
    "E6": "lag 0 within the bound after all is mended",
    "E7": "every duplicate has a logged cause",
    "E9": "payload and metadata are the original's",
    "E10": "dead letters are the original, with the right reason and origin",
    "E11": "no ack id is asked on a channel that did not tell it, or whose ids fell back",
    "E12": "memory and what is in flight stay bounded",
    "E13": "exit 0 means that all is committed",
}


class Findings:
    """Violations and figures of one check.

    Attributes:
        figures: For the report, in the order in which they were found.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)
        self.figures: dict[str, Any] = {}

    def violate(self, equation: str, text: str, count: int = 1) -> None:
        """Something that must not be."""
        self.counts[equation] += count
        if len(self.examples[equation]) < SHOWN:
            self.examples[equation].append(text)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was violated."""
        return not self.counts
