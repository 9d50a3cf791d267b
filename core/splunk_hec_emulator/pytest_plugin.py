"""The pytest fixture `hec_emulator`: an emulator of its own for each test that names it.

Options come from a marker: ``@pytest.mark.hec_emulator(ack_delay="0.2s", nodes=2)``; without one, acks come
true at once. Nothing is imported before a test asks for it: the plugin costs other test suites nothing.
"""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec_emulator.emulator import Emulator


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "hec_emulator(**options): options of the hec_emulator fixture")


@pytest.fixture
def hec_emulator(request: pytest.FixtureRequest) -> "Iterator[Emulator]":
    """Run a HEC emulator on a free port of 127.0.0.1 for one test."""
    from splunk_hec_emulator.emulator import Emulator  # noqa: PLC0415 - lazy by purpose

    marker = request.node.get_closest_marker("hec_emulator")
    options: dict[str, Any] = {"ack_delay": 0, **(marker.kwargs if marker else {})}
    with Emulator(**options) as emulator:
        yield emulator
