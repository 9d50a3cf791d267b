"""Log lines: on standard error, readable by people and machines, and without a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from splunk_hec_kafka import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = '5ecret"to\\ken-ä'
OURS = logging.getLogger("splunk_hec_kafka")
FOREIGN = logging.getLogger("urllib3.connectionpool")


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Gives logging back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)
    for name in logs.OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def use_stderr(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> io.StringIO:
    """Replaces standard error."""
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def fail_with(text: str) -> None:
    """Log an exception with its traceback."""
    try:
        raise ValueError(text)  # noqa: TRY301 -- a traceback is wanted
    except ValueError:
        OURS.exception("it failed with %s", text)


class TestForms:
    """How lines look."""

    @pytest.mark.parametrize("form", ["json", "auto"])
    def test_json_lines_have_the_promised_keys(self, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        """Off a terminal each line is one JSON object with time (RFC 3339, now), level, logger, message."""
        err = use_stderr(monkeypatch, is_terminal=False)
        logs.setup(form, "info")
        before = time.time()
        OURS.info("read %d\nrecords", 3)
        line = json.loads(err.getvalue())
        assert (line["level"], line["logger"]) == ("info", "splunk_hec_kafka")
        assert line["message"] == "read 3\nrecords"
        assert line["time"].endswith("Z")
        assert datetime.fromisoformat(line["time"]) >= datetime.fromtimestamp(before - 0.001, UTC)
        assert err.getvalue().count("\n") == 1

    def test_text_that_is_not_unicode_makes_a_line_all_the_same(self) -> None:
        """A lone surrogate, as bytes of unknown encoding leave it, cannot stop the log."""
        record = logging.LogRecord("n", logging.INFO, "", 0, "topic %s", ("\udcff",), None)
        line = logs._JsonLines("", ()).format(record)
        assert json.loads(line.encode("ascii"))["message"] == "topic \udcff"

    def test_a_traceback_stays_in_its_json_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception is a key of the same object."""
        err = use_stderr(monkeypatch, is_terminal=False)
        logs.setup("json", "info")
        fail_with("boom")
        line = json.loads(err.getvalue())
        assert line["message"] == "it failed with boom"
        assert line["exception"].splitlines()[-1] == "ValueError: boom"

    def test_text_is_one_line_with_the_same_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time in UTC, level, logger, message, terminal or not."""
        err = use_stderr(monkeypatch, is_terminal=True)
        logs.setup("text", "info")
        OURS.warning("look")
        when, rest = err.getvalue().split(" ", 1)
        assert when.endswith("Z")
        assert rest == "WARNING splunk_hec_kafka: look\n"

    @pytest.mark.parametrize("color", [True, False])
    def test_a_terminal_gets_rich_lines_and_may_stay_without_colour(
        self, monkeypatch: pytest.MonkeyPatch, color: bool
    ) -> None:
        """Brackets in messages are not markup, and colours are used only if wanted."""
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        err = use_stderr(monkeypatch, is_terminal=True)
        logs.setup("auto", "info", color)
        OURS.error("lost [red]7[/red]")
        plain = re.sub(r"\x1b\[[0-9;]*m", "", err.getvalue())
        assert "ERROR    lost [red]7[/red]" in plain
        assert (plain != err.getvalue()) is color


class TestLevels:
    """What is written."""

    def test_ours_from_the_level_on_others_from_warning_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Debugging the sink does not drown in its libraries."""
        err = use_stderr(monkeypatch, is_terminal=False)
        logs.setup("text", "debug")
        OURS.debug("ours")
        logging.getLogger("splunk_hec").debug("core")
        FOREIGN.info("noise")
        FOREIGN.warning("heard")
        logs.setup("text", "error")
        OURS.warning("hidden")
        assert [line.split(": ")[1] for line in err.getvalue().splitlines()] == ["ours", "core", "heard"]

    def test_setting_up_twice_writes_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second call replaces the first, and leaves handlers of others alone."""
        err = use_stderr(monkeypatch, is_terminal=False)
        other = logging.NullHandler()
        logging.getLogger().addHandler(other)
        logs.setup("json", "info")
        logs.setup("text", "info")
        OURS.info("once")
        assert err.getvalue().count("once") == 1
        assert "{" not in err.getvalue()
        assert other in logging.getLogger().handlers

    def test_python_warnings_become_log_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A library's warning does not break the JSON stream."""
        err = use_stderr(monkeypatch, is_terminal=False)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logs.setup("json", "info")
            warnings.warn("old habit", UserWarning, stacklevel=1)
            logging.captureWarnings(capture=False)
        line = json.loads(err.getvalue())
        assert line["logger"] == "py.warnings"
        assert "old habit" in line["message"]


class TestSecrets:
    """The last line of defence."""

    @pytest.mark.parametrize(("form", "is_terminal"), [("json", False), ("text", False), ("auto", True)])
    def test_no_form_shows_a_secret(
        self, monkeypatch: pytest.MonkeyPatch, form: str, is_terminal: bool
    ) -> None:
        """Neither message, arguments nor traceback, from us or a library, even if JSON would escape it."""
        err = use_stderr(monkeypatch, is_terminal=is_terminal)
        logs.setup(form, "info", secrets=[TOKEN])
        OURS.info(f"Splunk {TOKEN}")
        FOREIGN.warning("header %s", {"Authorization": TOKEN}["Authorization"])
        fail_with(TOKEN)
        shown = err.getvalue()
        assert shown.count("***") >= 4
        assert "5ecret" not in shown

    def test_a_secret_learnt_later_is_hidden_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The collection may grow, as when a token is rotated; a part of a longer one leaves no rest."""
        err = use_stderr(monkeypatch, is_terminal=False)
        secrets = ["abcd"]
        logs.setup("text", "info", secrets=secrets)
        secrets.append("abcd-efgh")
        OURS.info("old=abcd new=abcd-efgh.")
        assert err.getvalue().endswith("old=*** new=***.\n")

    def test_a_secret_too_short_to_be_one_does_not_blank_the_log(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An empty or tiny value is not searched for."""
        err = use_stderr(monkeypatch, is_terminal=False)
        logs.setup("text", "info", secrets=["", "a"])
        OURS.info("all data")
        assert "all data" in err.getvalue()
