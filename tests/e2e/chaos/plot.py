"""A picture of a run as SVG: unsettled age, lag and duplicates over time, with bands for the faults.

Not a plotting library: three panels of one width, one polyline each, and nothing that needs installing.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .checker import known_events

if TYPE_CHECKING:
    from .checker import Check

WIDTH, PANEL, GAP, LEFT, TOP = 1200, 150, 46, 70, 40
PLOT = WIDTH - LEFT - 20
COLORS = {"kill": "#c0392b", "broker": "#8e44ad", "letters": "#d68910", "hec": "#2471a3", "": "#7f8c8d"}
Points = list[tuple[float, float]]
Band = tuple[float, float, str, str]
"""From x to x, its colour and its name."""


def draw(check: Check) -> str:
    """The picture."""
    start, end = _range(check)
    bands = _bands(check, start, end)
    panels = [
        ("oldest unsettled record, s", _ages(check)),
        ("lag, records", _lags(check)),
        ("duplicates per second", [(at * 1000.0, float(n)) for at, n in _duplicates(check)]),
    ]
    height = TOP + len(panels) * (PANEL + GAP)
    size = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        _legend(check),
    ]
    for number, (title, points) in enumerate(panels):
        parts.append(_panel(TOP + number * (PANEL + GAP), title, points, bands, (start, end)))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _range(check: Check) -> tuple[float, float]:
    times = [float(event["t"]) for event in check.events]
    return (min(times), max(times) + 1) if times else (0.0, 1.0)


def _bands(check: Check, start: float, end: float) -> list[Band]:
    mended = {event["number"]: float(event["t"]) for event in known_events(check, "mended")}
    return [
        (_x(event["t"], start, end), _x(mended.get(event["number"], end), start, end),
         _color(event["fault"]), event["fault"])
        for event in known_events(check, "fault")
    ]  # fmt: skip


def _color(fault: str) -> str:
    return next(color for prefix, color in COLORS.items() if fault.startswith(prefix))


def _ages(check: Check) -> Points:
    return [
        (float(sample.at_ms), max((page.get("age", 0.0) for page in sample.sinks.values()), default=0.0))
        for sample in check.samples
        if sample.sinks
    ]


def _lags(check: Check) -> Points:
    return [(float(sample.at_ms), float(sample.lag)) for sample in check.samples if sample.lag is not None]


def _duplicates(check: Check) -> list[tuple[int, int]]:
    found = check.tables.extras_by_s
    return [(at, found[at]) for at in range(min(found), max(found) + 2)] if found else []


def _x(at_ms: float, start: float, end: float) -> float:
    return LEFT + PLOT * (at_ms - start) / (end - start)


def _legend(check: Check) -> str:
    [run] = known_events(check, "run") or [{}]
    title = f"seed {run.get('seed')}, {run.get('minutes')} minutes of faults"
    items = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>']
    for number, (name, color) in enumerate(COLORS.items()):
        x = LEFT + 300 + number * 130
        items.append(f'<rect x="{x}" y="7" width="12" height="10" fill="{color}" fill-opacity="0.4"/>')
        items.append(f'<text x="{x + 16}" y="16">{name or "other faults"}</text>')
    return "\n".join(items)


def _panel(y: float, title: str, points: Points, bands: list[Band], range_ms: tuple[float, float]) -> str:
    start, end = range_ms
    most = max((value for _, value in points), default=0.0) or 1.0
    parts = [f'<rect x="{LEFT}" y="{y}" width="{PLOT}" height="{PANEL}" fill="none" stroke="#999"/>']
    for x, until, color, name in bands:
        place = f'x="{x:.1f}" y="{y}" width="{max(1.5, until - x):.1f}" height="{PANEL}"'
        title_of = f"<title>{escape(name)}</title>"
        parts.append(f'<rect {place} fill="{color}" fill-opacity="0.12">{title_of}</rect>')
    shown = " ".join(f"{_x(at, start, end):.1f},{y + PANEL * (1 - value / most):.1f}" for at, value in points)
    parts.append(f'<polyline points="{shown}" fill="none" stroke="#1b2631" stroke-width="1"/>')
    parts.append(f'<text x="{LEFT}" y="{y - 5}">{escape(title)} (most: {most:,.0f})</text>')
    for share in (0.0, 0.5, 1.0):
        place = f'x="{LEFT - 6}" y="{y + PANEL * (1 - share) + 4:.0f}"'
        parts.append(f'<text {place} text-anchor="end">{most * share:,.0f}</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        place = f'x="{_x(start + (end - start) * share, start, end):.0f}" y="{y + PANEL + 14}"'
        minutes = (end - start) * share / 60_000
        parts.append(f'<text {place} text-anchor="middle">{minutes:.1f} min</text>')
    return "\n".join(parts)
