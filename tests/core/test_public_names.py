"""What `import splunk_hec` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import splunk_hec

NAMES = [
    "BudgetExceeded", "ClosedError", "ConfigError", "DeliveryFailed", "Envelope", "Event", "Halted",
    "Health", "HecClient", "HecConfig", "HecError", "HecHandler", "InvalidEvent", "Outcome", "OutcomeKind",
    "Probe", "Reason", "Stream", "splunk_hec",
]  # fmt: skip


def test_public_names_are_pinned() -> None:
    """Users import these names: none goes away by accident, none comes by accident."""
    assert splunk_hec.__all__ == NAMES
    assert dir(splunk_hec) == NAMES
    assert all(getattr(splunk_hec, name).__name__ == name for name in NAMES)


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'HecKlient'"):
        splunk_hec.HecKlient  # noqa: B018 -- looking it up is the test


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_import_is_light() -> None:
    """The package alone loads neither HTTP nor the client: a command's --help must not wait for them."""
    loaded = loaded_by("import splunk_hec")
    assert not loaded & {"requests", "urllib3", "msgspec", "splunk_hec.client", "splunk_hec.config"}


def test_making_a_client_for_another_transport_loads_no_http() -> None:
    """The HTTP library is loaded by the transport that uses it, and by nothing else."""
    made = "from splunk_hec import HecClient, HecConfig\nfrom splunk_hec.testing import ScriptedTransport\n"
    made += "HecClient(HecConfig(url='http://a', token='t'), transport_factory=ScriptedTransport)"
    assert not loaded_by(made) & {"requests", "urllib3"}
