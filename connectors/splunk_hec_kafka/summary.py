"""The summary of a run for people: the same rows as its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


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
