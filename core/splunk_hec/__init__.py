"""Deliver events to Splunk's HTTP Event Collector and know, for each one, how it ended.

from splunk_hec import Event, HecClient, HecConfig

with HecClient(HecConfig(url="https://splunk.example:8088", token="env:SPLUNK_HEC_TOKEN")) as hec:
hec.submit(Event("a line", sourcetype="app", ref=1))
hec.flush(timeout_s=30)
for outcome in hec.poll():
print(outcome.kind, outcome.refs)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splunk_hec._health import Health, Reason
    from splunk_hec._logging_handler import HecHandler
    from splunk_hec._probe import Probe
    from splunk_hec._stream import Stream
    from splunk_hec.client import HecClient
    from splunk_hec.compat import splunk_hec
    from splunk_hec.config import HecConfig
    from splunk_hec.errors import (
        BudgetExceeded,
        ClosedError,
        ConfigError,
        DeliveryFailed,
        Halted,
        HecError,
        InvalidEvent,
    )
    from splunk_hec.events import Envelope, Event, Outcome, OutcomeKind

_HOMES = {
    "splunk_hec._probe": ("Probe",),
    "splunk_hec._health": ("Health", "Reason"),
    "splunk_hec._logging_handler": ("HecHandler",),
    "splunk_hec._stream": ("Stream",),
    "splunk_hec.client": ("HecClient",),
    "splunk_hec.compat": ("splunk_hec",),
    "splunk_hec.config": ("HecConfig",),
    "splunk_hec.errors": (
        "BudgetExceeded",
        "ClosedError",
        "ConfigError",
        "DeliveryFailed",
        "Halted",
        "HecError",
        "InvalidEvent",
    ),
    "splunk_hec.events": ("Envelope", "Event", "Outcome", "OutcomeKind"),
}
# Names are looked up on first use: a command line that only prints its help must not pay for all of this.
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BudgetExceeded",
    "ClosedError",
    "ConfigError",
    "DeliveryFailed",
    "Envelope",
    "Event",
    "Halted",
    "Health",
    "HecClient",
    "HecConfig",
    "HecError",
    "HecHandler",
    "InvalidEvent",
    "Outcome",
    "OutcomeKind",
    "Probe",
    "Reason",
    "Stream",
    "splunk_hec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
