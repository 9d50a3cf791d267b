"""What holds for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold lone surrogates, which the channel between workers cannot carry."""
    report = yield
    report.sections = [(name, _without_surrogates(text)) for name, text in report.sections]
    if report.failed and report.longrepr is not None:
        shown = str(report.longrepr)
        if not _is_sound(shown):
            report.longrepr = _without_surrogates(shown)
    return report


def _is_sound(text: str) -> bool:
    return text == _without_surrogates(text)


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
