"""The drop-in's log lines: to the caller's logger, or printed as splunk-hec-ftf prints them.

Not for what the engine logs (logger `splunk_hec`). Guarantees: each line names the context and the target
host; nothing here ever sees a token.
"""

from __future__ import annotations

from typing import Any, Literal

_warned: set[str] = set()
"""Hosts of which it was said, once a process, that their certificates are not verified."""
_UNVERIFIED = (
    "the certificate is not verified (hec_tls_verify=False): anyone between can read the token and the"
    " events; set hec_tls_verify=True"
)


class LogLines:
    """Lines of one `splunk_hec`."""

    def __init__(self, context_id: Any, host: str, logger: Any, *, has_debug: bool) -> None:
        self._context_id = context_id
        self._host = host
        self._logger = logger
        self._has_debug = has_debug

    def say(self, level: Literal["debug", "warning", "error"], text: str) -> None:
        """Log one line; debug lines only if they were asked for."""
        if level == "debug" and not self._has_debug:
            return
        line = f"context={self._context_id} (target_host={self._host}) {text}"
        if self._logger is not None:
            getattr(self._logger, level)("%s", line)
        else:
            print(f"[{level}] {line}", flush=True)  # noqa: T201 -- as the library does without a logger

    def warn_unverified(self) -> None:
        """Once a process and host."""
        if self._host not in _warned:
            _warned.add(self._host)
            self.say("warning", _UNVERIFIED)
