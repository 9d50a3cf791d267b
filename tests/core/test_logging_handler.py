"""`HecHandler` in one process, against the emulator: what is sent, what is dropped, what is told."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import queue
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from splunk_hec import ConfigError, HecHandler
from splunk_hec.errors import BudgetExceeded, ClosedError, Halted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec_emulator import Emulator

BOUND_S = 30.0
PAGE = Path(__file__).parents[2] / "core" / "LOGGING.md"

Make = "Callable[..., tuple[logging.Logger, HecHandler]]"


@pytest.fixture
def make(hec_emulator: Emulator) -> Iterator[Make]:
    """A logger of its own with a handler to the emulator; closed at the end."""
    made: list[tuple[logging.Logger, HecHandler]] = []

    def new(**given: Any) -> tuple[logging.Logger, HecHandler]:
        settings = {"url": hec_emulator.url, "token": hec_emulator.token, "linger_s": 0.01, **given}
        handler = HecHandler(**{"flush_s": BOUND_S, **settings})
        log = logging.getLogger(f"app.{len(made)}")
        log.setLevel(logging.DEBUG)
        log.propagate = False
        log.addHandler(handler)
        made.append((log, handler))
        return log, handler

    yield new
    hec_emulator.set_faults()
    for log, handler in made:
        log.removeHandler(handler)
        handler._flush_s = 0
        handler.close()


def sent(emulator: Emulator, handler: HecHandler) -> list[dict[str, Any]]:
    """Everything indexed, once all that was logged is settled."""
    handler.flush()
    return emulator.events()


def caught(handler: HecHandler) -> list[BaseException]:
    """What the handler's `handleError` is called for, from now on."""
    import sys

    errors: list[BaseException] = []

    def note(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        errors.append(error)

    handler.handleError = note  # type: ignore[method-assign]
    return errors


def test_a_record_is_an_object_with_its_own_time(make: Make, hec_emulator: Emulator) -> None:
    """Message, level, logger and `extra` are members; the time is the record's, not that of sending."""
    log, handler = make(sourcetype="shop", host="web-1", fields={"team": "a"})
    record = log.makeRecord(log.name, logging.INFO, "f", 1, "paid %d", (17,), None, extra={"eur": 12.5})
    record.created = 1_700_000_000.25
    log.handle(record)
    [event] = sent(hec_emulator, handler)
    assert event["event"] == {"message": "paid 17", "level": "INFO", "logger": log.name, "eur": 12.5}
    assert (float(event["time"]), event["host"], event["sourcetype"]) == (1_700_000_000.25, "web-1", "shop")
    assert event["fields"] == {"team": "a"}


def test_an_exception_and_a_mapping_keep_their_form(make: Make, hec_emulator: Emulator) -> None:
    """The traceback's text is a member; a mapping as the message becomes members."""
    log, handler = make()
    try:
        raise KeyError("missing")  # noqa: TRY301
    except KeyError:
        log.exception("bad", stack_info=True)
    log.info({"a": {"b": 1}})
    bad, mapping = (one["event"] for one in sent(hec_emulator, handler))
    assert bad["exception"].startswith("Traceback")
    assert bad["exception"].endswith("KeyError: 'missing'")
    assert bad["stack"].startswith("Stack")
    assert mapping == {"level": "INFO", "logger": log.name, "a": {"b": 1}}


def test_extras_may_be_indexed_fields(make: Make, hec_emulator: Emulator) -> None:
    """With extras="fields" they are no members, and what is not flat is its text."""
    log, handler = make(extras="fields", fields={"team": "a", "n": 0})
    log.info("x", extra={"n": 1, "tags": ["p", 2], "deep": {"a": 1}})
    [event] = sent(hec_emulator, handler)
    assert event["event"] == {"message": "x", "level": "INFO", "logger": log.name}
    assert event["fields"] == {"team": "a", "n": 1, "tags": ["p", 2], "deep": "{'a': 1}"}


def test_a_formatter_decides_the_payload(make: Make, hec_emulator: Emulator) -> None:
    """With a formatter its text is the event."""
    log, handler = make()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log.warning("disk %s", "full", extra={"left": 3})
    [event] = sent(hec_emulator, handler)
    assert event["event"] == "WARNING disk full"


def test_what_has_no_json_form_is_sent_as_text(make: Make, hec_emulator: Emulator) -> None:
    """Objects, NaN, lone surrogates, huge integers and cycles never lose a record."""
    cycle: list[Any] = []
    cycle.append(cycle)
    log, handler = make()
    errors = caught(handler)
    odd = {"o": object, "nan": float("nan"), "s": "\udc80", "big": 1 << 80, "cycle": cycle, "k": {1: {2}}}
    log.info("odd \ud800", extra=odd)
    [event] = sent(hec_emulator, handler)
    assert not errors
    told = event["event"]
    assert told["message"] == "odd \\ud800"
    assert told["nan"] == "nan"
    assert told["s"] == "\\udc80"
    assert told["big"] == str(1 << 80)
    assert told["o"] == "<class 'object'>"
    assert told["k"] == {"1": [2]}


def test_it_never_logs_through_itself(make: Make, hec_emulator: Emulator) -> None:
    """With everything at DEBUG and the handler on the root, only the program's own records are sent."""
    _, handler = make()
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    levels = {name: logging.getLogger(name).level for name in ("splunk_hec", "urllib3", "requests")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.DEBUG)
            logging.getLogger(f"{name}.part").warning("not sent")
        for number in range(5):
            logging.getLogger("program").info("n %d", number)
            handler.flush()
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    ours = [one["event"] for one in sent(hec_emulator, handler) if one["event"]["logger"] != "asyncio"]
    assert [one["message"] for one in ours] == [f"n {number}" for number in range(5)]


def test_what_its_own_thread_logs_is_not_sent(make: Make, hec_emulator: Emulator) -> None:
    """A library that logs while we send (a secret's, a resolver's) must not make a record of each request."""
    log, handler = make()
    thread = threading.Thread(target=lambda: log.info("from our thread"), name="splunk-hec-handler")
    thread.start()
    thread.join()
    log.info("mine")
    assert [one["event"]["message"] for one in sent(hec_emulator, handler)] == ["mine"]


def test_drop_oldest_sends_the_count_in_their_place(make: Make, hec_emulator: Emulator) -> None:
    """While Splunk is busy, memory stays bounded; afterwards the count is where records are missing."""
    hec_emulator.set_faults("busy")
    log, handler = make(budget_bytes=8_000)
    for number in range(400):
        log.info("n", extra={"n": number})
        sender = handler._sender
        assert sender is not None
        assert sender._held_bytes <= 4_000
    hec_emulator.set_faults()
    events = [one["event"] for one in sent(hec_emulator, handler)]
    numbers = [one["n"] for one in events if "n" in one]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 399
    dropped = [one["dropped"] for one in events if "dropped" in one]
    assert sum(dropped) == 400 - len(numbers) > 200
    for before, notice, after in zip(events, events[1:], events[2:], strict=False):
        if "dropped" in notice:
            assert after["n"] - before["n"] - 1 == notice["dropped"]
            assert (notice["logger"], notice["level"]) == ("splunk_hec", "WARNING")


def test_block_waits_and_loses_nothing(make: Make, hec_emulator: Emulator) -> None:
    """With overflow="block" the program waits for room, and every record is indexed once, in order."""
    hec_emulator.set_faults("busy")
    log, handler = make(budget_bytes=8_000, overflow="block")
    thread = threading.Thread(target=lambda: [log.info("n", extra={"n": n}) for n in range(200)])
    thread.start()
    sender = handler._sender
    assert sender is not None
    with sender._changed:
        assert sender._changed.wait_for(lambda: not sender._has_room(400), BOUND_S)
    assert thread.is_alive()
    hec_emulator.set_faults()
    thread.join(BOUND_S)
    assert not thread.is_alive()
    assert [one["event"]["n"] for one in sent(hec_emulator, handler)] == list(range(200))


def test_raise_ends_in_handle_error(make: Make, hec_emulator: Emulator) -> None:
    """With overflow="raise" each record without room is told to `handleError`, and no other is lost."""
    hec_emulator.set_faults("busy")
    log, handler = make(budget_bytes=8_000, overflow="raise")
    errors = caught(handler)
    for number in range(200):
        log.info("n", extra={"n": number})
    assert errors
    assert all(isinstance(error, BudgetExceeded) for error in errors)
    hec_emulator.set_faults()
    assert len(sent(hec_emulator, handler)) == 200 - len(errors)


def test_a_refused_token_is_told_and_ends_a_wait(
    make: Make, hec_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deployment that is refused past the patience: a line on stderr, no token in it, and nobody blocks."""
    log, handler = make(token="not-a-token", halt_patience_s=0, budget_bytes=4_000, overflow="block")
    errors = caught(handler)
    for number in range(100):
        log.info("n %d", number)
    assert errors
    assert all(isinstance(error, Halted) for error in errors)
    said = capsys.readouterr().err
    assert "invalid_token" in said
    assert said.count("Splunk refuses what is logged") == 1
    assert "not-a-token" not in said + repr(handler)


def test_a_rejected_record_is_told(
    make: Make, hec_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Splunk will never take is counted on stderr with its reason; its neighbours are indexed."""
    hec_emulator.set_tokens("mine:ack:index=main")
    log, handler = make(token="mine")
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler._encoder._defaults["index"] = "nope"  # one event with an index of its own
    log.info("bad")
    handler._encoder._defaults["index"] = "main"
    log.info("good")
    assert [one["event"] for one in sent(hec_emulator, handler)] == ["good"]
    assert "1 log records are not confirmed by Splunk (rejected, bad_index" in capsys.readouterr().err


def test_it_works_behind_a_queue(make: Make, hec_emulator: Emulator) -> None:
    """Under QueueHandler and QueueListener records arrive with their time, extras and traceback."""
    _, handler = make()
    waiting: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(waiting, handler)
    log = logging.getLogger("app.queued")
    log.propagate = False
    log.addHandler(logging.handlers.QueueHandler(waiting))
    listener.start()
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        log.exception("bad %s", "luck", extra={"n": 1})
    listener.stop()
    log.handlers.clear()
    [event] = sent(hec_emulator, handler)
    assert event["event"]["message"].startswith("bad luck\nTraceback")
    assert event["event"]["n"] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"extras": "both"}, "extras must be"),
        ({"overflow": "drop"}, "overflow must be one of drop_oldest, block, raise"),
        ({"verfy": False}, "no setting 'verfy'; did you mean verify?"),
        ({"threads": True}, "no setting 'threads'"),
        ({"budget_bytes": 0}, "budget_bytes must be greater than 0"),
        ({"flush_s": -1}, "flush_s must be 0 or more"),
        ({"token": "env:NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE"),
        ({"ca_file": "/nowhere.pem"}, "/nowhere.pem"),
    ],
)
def test_a_wrong_argument_fails_where_it_is_configured(given: dict[str, Any], said: str) -> None:
    """A configuration that cannot work is refused at once, with the argument's name."""
    arguments = {"url": "https://127.0.0.1:1", "token": "t", **given}
    with pytest.raises(ConfigError, match=re.escape(said)):
        HecHandler(**arguments)


def test_a_closed_handler_says_so_and_does_not_hang(make: Make) -> None:
    """A record after close goes to `handleError`; closing twice is nothing."""
    log, handler = make()
    errors = caught(handler)
    handler.close()
    log.info("late")
    handler.flush()
    handler.close()
    assert [type(error) for error in errors] == [ClosedError]


def test_closing_says_what_is_unconfirmed(
    make: Make, hec_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be confirmed within the deadline is counted on stderr."""
    hec_emulator.set_faults("busy")
    log, handler = make(flush_s=0.2)
    for number in range(3):
        log.info("n %d", number)
    handler.flush()
    handler.close()
    assert "3 log records were not confirmed within 0.2 s" in capsys.readouterr().err


def test_the_page_configures_logging_as_it_stands(
    hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOGGING.md's dictConfig, with the reader's own url, sends the event that the page shows."""
    found = re.search(r"<!-- dictConfig -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    monkeypatch.setenv("SPLUNK_HEC_TOKEN", hec_emulator.token)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        exec(found[1].replace("https://splunk.example:8088", hec_emulator.url), {})
        [handler] = [one for one in root.handlers if isinstance(one, HecHandler)]
        handler.flush()
        handler.close()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    shown = re.search(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    import json

    [event] = [one for one in hec_emulator.events() if one["event"]["logger"] == "shop"]
    assert event["event"] == json.loads(shown[1])
    assert event["sourcetype"] == "shop"
