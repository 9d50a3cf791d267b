"""The drop-in's arguments: their defaults, what each becomes in `HecConfig`, and the table that says so.

Pure. Not for what the drop-in does with its calls (`compat`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from splunk_hec.config import HecConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_LINGER_S = 31_536_000.0
"""A batch is sent when it is full and when it is flushed, never because it is old: as the library does."""
DEFAULT_MEMORY = 268_435_456
BATCHES_PER_THREAD = 8
"""So far may a caller be ahead of the threads, without acks and unless `max_memory` is given: more
than keeps them busy only leaves the caches. The library takes about two a thread before it waits."""
_SHORTEST_S = 0.1
_EVENT_MAX_BYTES = 5_000_000
"""HecConfig's own; the raw endpoint breaks lines itself and takes what a request may hold."""

ARGUMENTS: dict[str, tuple[Any, str, str]] = {
    "token": (None, "token", "the same"),
    "hec_server": (None, "url", "https://HEC_SERVER:HEC_PORT"),
    "hec_port": (8088, "url", "as above"),
    "input_type": ("raw", "endpoint", "'json' is endpoint='event', 'raw' is endpoint='raw'"),
    "use_hec_tls": (True, "url", "False: http://"),
    "use_ack": (False, "ack", "True is ack='required', False is ack='off'; new programs leave it 'required'"),
    "hec_tls_verify": (False, "verify", "new programs leave it True, with ca_file for a private CA"),
    "ack_interval": (
        5,
        "ack_deadline_s",
        "ack_interval times max_ack_attempts; polls come when they are due",
    ),
    "max_ack_attempts": (
        5,
        "give_up_after_s",
        "with acks ack_deadline_s times max_ack_attempts, without them ack_interval times max_ack_attempts",
    ),
    "max_content_length": (50_000_000, "batch_max_bytes", "new programs leave it at 1,000,000"),
    "max_events_per_batch": (100_000, "batch_max_events", "new programs leave it at 5,000"),
    "backup_queue": (None, "", "poll(): every failed outcome; refs or stream(keeps_lines=True) say which"),
    "context_id": ("default", "", "log lines of the drop-in only; a logging filter of your own"),
    "rotate_session_after": (10, "", "HecClient(posts_per_channel=…): fresh channel and connection"),
    "debug_enabled": (False, "", 'logging.getLogger("splunk_hec").setLevel(logging.DEBUG)'),
    "logger": (None, "", 'logging.getLogger("splunk_hec")'),
    "max_threads": (0, "lanes", "0 is threads=False; n is lanes=n"),
    "disable_tls_validation_warnings": (True, "", "nothing: one warning a process, whatever it says"),
    "http_timeout": (60, "request_deadline_s", "seconds for a whole request, not for each wait within it"),
    "max_memory": (
        0,
        "in_flight_max_bytes",
        "bytes; 0 is 268,435,456, and with threads and without acks 8 batches a thread at most",
    ),
}
"""Default, setting of HecConfig (empty: none), and how the one becomes the other."""

_BEYOND = (
    ("set_request_params", "index source sourcetype host", "defaults of the config, or of each Event"),
    (
        "(nothing)",
        "linger_s",
        "never: a batch waits until it is full or flushed; new programs leave it at 0.5",
    ),
    ("(nothing)", "gzip", "'off', as the library sends; new programs leave it 'fast'"),
    ("(nothing)", "halt_patience_s", "0: a wrong token is told at once, not after five minutes"),
)


def settings(given: Mapping[str, Any], params: Mapping[str, str]) -> HecConfig:
    """The config that the drop-in's arguments mean.

    Args:
        given: Arguments by name; those left out have their defaults.
        params: Query parameters of the raw endpoint: an index there is part of the configuration.

    Raises:
        ConfigError: A value is impossible.
    """
    known = {name: default for name, (default, _, _) in ARGUMENTS.items()} | dict(given)
    scheme = "https" if _is_true(known["use_hec_tls"]) else "http"
    has_acks = _is_true(known["use_ack"])
    threads = int(known["max_threads"])
    attempts = max(1, int(known["max_ack_attempts"]))
    ack_deadline_s = max(_SHORTEST_S, float(known["ack_interval"]) * attempts)
    batch_events = int(known["max_events_per_batch"])
    is_raw = "raw" in str(known["input_type"])
    memory = int(known["max_memory"])
    config = HecConfig(
        url=f"{scheme}://{known['hec_server']}:{known['hec_port']}",
        token=str(known["token"]),
        ack="required" if has_acks else "off",
        lanes=max(1, threads),
        threads=threads > 0,
        batch_max_bytes=int(known["max_content_length"]),
        batch_max_events=batch_events,
        event_max_bytes=int(known["max_content_length"]) if is_raw else _EVENT_MAX_BYTES,
        linger_s=NO_LINGER_S,
        gzip="off",
        in_flight_max_bytes=memory or DEFAULT_MEMORY,
        request_deadline_s=float(known["http_timeout"]),
        ack_deadline_s=ack_deadline_s,
        give_up_after_s=ack_deadline_s * (attempts if has_acks else 1),
        halt_patience_s=0,
        verify=_is_true(known["hec_tls_verify"]),
        endpoint="raw" if is_raw else "event",
        index=params.get("index", "") if is_raw else "",
    )
    if threads > 0 and not has_acks and not memory:
        ahead = BATCHES_PER_THREAD * threads * batch_events
        return msgspec.structs.replace(config, in_flight_max_events=ahead)
    return config


def rows() -> list[tuple[str, str, str, str]]:
    """Argument, default, setting of HecConfig, and how."""
    table = [
        (name, _shown(name, default), setting or "-", how)
        for name, (default, setting, how) in ARGUMENTS.items()
    ]
    return table + [(name, "-", setting, how) for name, setting, how in _BEYOND]


def explained() -> str:
    """The table for a terminal."""
    table = [("argument", "default", "HecConfig", "how"), *rows()]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) + "\n"
        for row in table
    )


def markdown() -> str:
    """The same for a page."""
    lines = ["| argument | default | `HecConfig` | how |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(_marked(row))} |" for row in rows()]) + "\n"


def _marked(row: tuple[str, str, str, str]) -> list[str]:
    return [f"`{cell}`" if cell.replace("_", "").isalnum() else cell for cell in row[:3]] + [row[3]]


def _shown(name: str, default: Any) -> str:
    return "required" if name in ("token", "hec_server") else repr(default)


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes")
