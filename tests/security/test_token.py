"""Someone who reads logs, pages, dead letters, pickles: the token is in none of them.

That a client's reprs, tracebacks, outcomes and pickles hide it is tests/core/test_secrets.py's; the log of
the transport alone, test_transport.py's; the pickled transform and its graph, tests/beam/test_write.py's.
Here: the whole sink at the chattiest level, and what those leave out.
"""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka_tools import produce, read_all
from sink_tools import LETTERS, RunningSink, sink_config

from splunk_hec import ConfigError, HecConfig
from splunk_hec.config import hide_password
from splunk_hec_emulator import Emulator
from splunk_hec_kafka import logs
from splunk_hec_kafka.config import load
from splunk_hec_kafka.config_show import show_json, show_toml
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.server import StatusServer

if TYPE_CHECKING:
    from pathlib import Path

    from splunk_hec_kafka._mock_kafka import MockKafka

SECRET = "5ecre7-70ken-0f-7he-51nk"
FAULTS = ["busy,count=1", "reset-after,count=1", "html503,count=1", "ack-error:503,count=1"]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Where the token is."""
    path = tmp_path / "token"
    path.write_text(SECRET)
    return path


def shown_by(sink: Any) -> str:
    """The repr of a sink and of everything of ours that it holds."""
    ours = ("splunk_hec", "splunk_hec_kafka")
    seen: dict[int, object] = {}
    waiting = [sink]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not type(one).__module__.startswith(ours):
            continue
        seen[id(one)] = one
        held = [item for item in gc.get_referents(one) if not isinstance(item, type)]
        waiting += [inner for item in held for inner in ([item, *_members(item)])]
    return " ".join(f"{one!r} {one}" for one in seen.values())


def _members(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    return list(item) if isinstance(item, list | tuple | set | frozenset) else []


def test_the_whole_sink_shows_its_token_nowhere(
    mock_kafka: MockKafka, token_file: Path, every_log: pytest.LogCaptureFixture
) -> None:
    """Through poison, refusals and lost replies no log, page, metric, dead letter or repr has the token."""
    mock_kafka.create_topic("logs", 1)
    mock_kafka.create_topic(LETTERS, 1)
    produce(mock_kafka.bootstrap, "logs", [b"good %d" % n for n in range(30)] + [b"\xff", b" ", b"x" * 3000])
    with Emulator(ack_delay=0, tokens=[f"{SECRET}:ack"], faults=FAULTS) as hec:
        config = sink_config(
            mock_kafka, hec, hec_token=f"file:{token_file}", hec_batch_max_events=3, hec_event_max_bytes=2000,
            hec_request_deadline_s=5, letter_max_ratio=1.0,
            properties={"debug": "security,broker,msg", "log_level": 7},
        )  # fmt: skip
        with RunningSink(config, until_end=True) as running:
            server = StatusServer("127.0.0.1:0", running.metrics, lambda: True, running.sink.readiness)
            server.start()
            try:
                assert running.ended(60) == ExitCode.OK
                pages = "".join(
                    page(server.port, path) for path in ("/metrics", "/readyz", "/livez", "/other")
                )
            finally:
                server.close()
        assert hec.stats()["events_indexed"] >= 30
        fired = {rule["rule"]: rule["fired"] for rule in hec.faults}
        assert all(fired.values()), fired
        assert SECRET not in str(hec.events()) + str(hec.stats())
    letters = read_all(mock_kafka.bootstrap, LETTERS)
    assert len(letters) == 3
    assert "hec_sink_dead_letters_total" in pages
    assert any(one.name.startswith("urllib3") for one in every_log.records)
    everything = [
        every_log.text,
        pages,
        repr(running.sink.summary()),
        shown_by(running.sink),
        shown_by(config),
    ]
    everything += [repr((one.key(), one.value(), one.headers())) for one in letters]
    for text in everything:
        assert SECRET not in text
        assert "Splunk 5ecre7" not in text
    assert str(token_file) in shown_by(running.sink)  # the place is shown, which helps


def page(port: int, path: str) -> str:
    """One page of the sink's."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request("GET", path)
        return link.getresponse().read().decode()
    finally:
        link.close()


def test_a_refused_token_is_not_quoted_on_the_way_out(
    mock_kafka: MockKafka, token_file: Path, every_log: pytest.LogCaptureFixture
) -> None:
    """The failure that ends a sink whose token is refused names the fix; its traceback has no token."""
    mock_kafka.create_topic("logs", 1)
    mock_kafka.create_topic(LETTERS, 1)
    with Emulator(ack_delay=0, tokens=["another:ack"]) as hec:
        config = sink_config(mock_kafka, hec, hec_token=f"file:{token_file}", hec_halt_patience_s=0)
        with RunningSink(config) as running:
            assert running.ended() == ExitCode.HEC
    assert running.failure is not None
    told = "".join(traceback.TracebackException.from_exception(running.failure, capture_locals=True).format())
    assert "hec.token" in told
    assert SECRET not in told
    assert SECRET not in every_log.text


def test_config_show_hides_every_secret_it_is_given(tmp_path: Path) -> None:
    """Token, proxy and Kafka passwords, literal in the file, are in neither form of `config show`."""
    file = tmp_path / "sink.toml"
    file.write_text(
        f"[hec]\nurl = 'https://s:8088'\ntoken = '{SECRET}-1'\nproxy = 'http://me:{SECRET}@2/x@proxy:1'\n"
        f"[kafka.properties]\nsasl.password = '{SECRET}-3'\nssl.key.password = '{SECRET}-4'\n"
        f"[dead_letter.properties]\nsasl.password = '{SECRET}-5'\nssl.keystore.password = '{SECRET}-6'\n"
    )
    loaded = load(file, {})
    for text in (show_toml(loaded), json.dumps(show_json(loaded)), repr(loaded.config), str(loaded)):
        assert SECRET not in text


@given(
    st.text("@:/?#%\\ é", max_size=4),
    st.text("@:/?#%\\ é", max_size=4),
    st.sampled_from(["http://", "socks5://", ""]),
)
def test_a_proxys_password_is_hidden_whatever_it_is_made_of(before: str, after: str, scheme: str) -> None:
    """A password with `@` or `/` in it, or before no scheme, is shown by neither a config nor its refusal."""
    url = f"{scheme}user:{before}{SECRET}{after}@proxy:3128"
    assert SECRET not in hide_password(url)
    assert hide_password(url).endswith("***@proxy:3128")
    try:
        shown = repr(HecConfig(url="http://a", token="env:T", proxy=url))
    except ConfigError as error:
        shown = "".join(traceback.format_exception(error))
    assert SECRET not in shown


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_token_that_has_to_be_escaped_is_hidden_all_the_same(form: str) -> None:
    """Secrets are looked for before a line is made visible: escaping cannot hide one from that look."""
    token = 'tök"en\\\u202e-with-all'
    made = logs._JsonLines("", [token]) if form == "json" else logs._Redacting(logs.TEXT_FORMAT, [token])
    import logging

    line = made.format(logging.LogRecord("n", logging.INFO, "", 0, "sent %s", (token,), None))
    assert "***" in line
    assert "with-all" not in line


def test_a_beam_dofn_that_has_connected_still_pickles_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DoFn after its first bundle, clients and all, either cannot be pickled or leaves the token out."""
    pytest.importorskip("apache_beam")
    from apache_beam.transforms.window import GlobalWindow
    from apache_beam.utils.timestamp import Timestamp
    from apache_beam.utils.windowed_value import WindowedValue

    from splunk_hec_beam.deliver import DeliverFn

    monkeypatch.setenv("SECURITY_TOKEN", SECRET)
    with Emulator(ack_delay=0, tokens=[f"{SECRET}:ack"]) as hec:
        fn = DeliverFn(
            HecConfig(url=hec.url, token="env:SECURITY_TOKEN", lanes=1), to_event=None,
            takes_timestamps=False, event_id_field=None, bundle_deadline_s=30, fails_on_reject=False,
        )  # fmt: skip
        assert SECRET.encode() not in pickle.dumps(fn)
        fn.setup()
        fn.start_bundle()
        for text in ("good", ""):
            list(fn.process(text, WindowedValue(text, Timestamp(0), [GlobalWindow()])))
        rows = repr(list(fn.finish_bundle()))
        pickled = b""
        with contextlib.suppress(TypeError):  # a lock, a socket: it cannot be pickled now
            pickled = pickle.dumps(fn)
        assert SECRET.encode() not in pickled
        assert SECRET not in rows + repr(fn) + repr(vars(fn))
        fn.teardown()
        assert [event["event"] for event in hec.events()] == ["good"]
