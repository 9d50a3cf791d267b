"""One line on a terminal that says how far the sink is. Not for logs; nothing where there is no terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from splunk_hec_kafka.metrics import Metrics

_PER_SECOND = 4
_MB = 1_000_000


@contextmanager
def live_line(text: Callable[[], str], *, is_wanted: bool = True, use_color: bool = True) -> Generator[None]:
    """Show a line on standard error, made anew four times a second, while the block runs.

    Args:
        text: Makes the line; called on a thread of its own.
        is_wanted: False shows nothing; so does a standard error that is no terminal.
        use_color: Whether colours may be used.
    """
    if not is_wanted or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 -- only where somebody watches
    from rich.live import Live  # noqa: PLC0415 -- as above
    from rich.text import Text  # noqa: PLC0415 -- as above

    console = Console(stderr=True, color_system="auto" if use_color else None)
    with Live(
        get_renderable=lambda: Text(text(), style="bold", no_wrap=True, overflow="ellipsis"),
        console=console,
        refresh_per_second=_PER_SECOND,
        transient=True,
    ):
        yield


def sink_line(metrics: Metrics) -> str:
    """How far the sink is, out of its metrics."""
    total = metrics.total
    parts = [
        f"{total('records_consumed'):,.0f} read",
        f"{total('events', outcome='delivered'):,.0f} indexed",
        f"{total('dead_letters'):,.0f} dead letters",
        f"{total('in_flight_events'):,.0f} in flight ({total('in_flight_bytes') / _MB:,.1f} MB)",
        f"lag {total('lag_records'):,.0f}",
    ]
    return " · ".join(parts)


@contextmanager
def progress_bar(
    text: str, total: int, *, is_wanted: bool = True, use_color: bool = True
) -> Generator[Callable[[int], None]]:
    """Show a bar on standard error while the block runs.

    Args:
        text: What is done.
        total: How much there is to do.
        is_wanted: False shows nothing; so does a standard error that is no terminal.
        use_color: Whether colours may be used.

    Yields:
        To be called with how much was done since the last call.
    """
    if not is_wanted or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console  # noqa: PLC0415 -- only where somebody watches
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True, color_system="auto" if use_color else None)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.advance(task, done)
