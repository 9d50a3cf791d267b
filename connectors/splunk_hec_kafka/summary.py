"""The summary of a run: its JSON, and the same rows for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Summary(msgspec.Struct, frozen=True):
    """What a run did; the JSON of interface: `-o json` prints it as it is."""

    records: int
    delivered: int
    dead_lettered: int
    skipped: int
    committed: bool
    resends: dict[str, int]
    records_per_s: float
    ack_latency_s: dict[str, float]
    seconds: float


def summary_text(document: Mapping[str, Any]) -> str:
    """A row for each key of the JSON document, values aligned."""
    width = max(map(len, document)) + 2
    return "\n".join(f"{name:<{width}}{_shown(value)}" for name, value in document.items())


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}"
        case dict():
            items = cast("dict[str, object]", value).items()
            return "  ".join(f"{name} {_shown(one)}" for name, one in items) or "none"
        case _:
            return str(value)
