"""What holds for every test."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LOGGERS = ("splunk_hec", "splunk_hec_kafka", "splunk_hec_beam", "splunk_hec_emulator")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command run in this process sets up logging; no later test may find its handler or its level."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {one: logging.getLogger(one).level for one in ("", *LOGGERS)}
    yield
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
        handler.close()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


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
