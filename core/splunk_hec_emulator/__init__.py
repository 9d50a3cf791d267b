"""A faithful Splunk HTTP Event Collector for tests and demonstrations, with faults on purpose.

It answers as a real one was measured to (byte for byte where somebody recorded the bytes), keeps
acknowledgements as an indexer does, and breaks in every way a client must survive. It judges requests with
code of its own and shares nothing with the client in `splunk_hec`, or tests with both would prove nothing.

Start with `emulator` (the library), `_judge` (what HEC answers), `_envelope` (how a body is read) and `_wire`
(connections and their faults). The user's page is EMULATOR.md.

Not for: storing anything, searching, or standing in for the rest of Splunk.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splunk_hec_emulator.emulator import Emulator
    from splunk_hec_emulator.settings import Settings, SettingsError, Token

__all__ = ["Emulator", "Settings", "SettingsError", "Token"]

_HOMES = {"Emulator": "emulator", "Settings": "settings", "SettingsError": "settings", "Token": "settings"}


def __getattr__(name: str) -> Any:
    """Load the public names on first use: the command line must answer --help at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - lazy by purpose

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
