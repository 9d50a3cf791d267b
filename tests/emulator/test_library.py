"""The emulator as a library, and its pytest fixture."""

import http.client
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from splunk_hec_emulator import Emulator, Settings, SettingsError, Token

pytest_plugins = ["pytester"]


def test_the_names_users_need_are_there() -> None:
    """url, token and plain_token are what a client is configured with."""
    with Emulator(ack_delay=0) as hec:
        assert hec.url.startswith("http://127.0.0.1:")
        assert hec.token == "00000000-0000-0000-0000-000000000001"
        assert hec.plain_token == "00000000-0000-0000-0000-000000000002"
        assert hec.events() == []
        assert hec.stats()["requests"] == 0
        assert hec.faults == []


def test_tokens_can_be_replaced_while_it_runs() -> None:
    """A rotated token is seen at once; a kind that is missing says so."""
    with Emulator() as hec:
        hec.set_tokens("new:ack", Token(value="dead", is_disabled=True))
        assert hec.token == "new"
        with pytest.raises(LookupError, match="without acks"):
            _ = hec.plain_token


def test_it_ends_without_a_trace() -> None:
    """After the block the port is free, and stopping again is harmless."""
    hec = Emulator()
    with hec:
        port = int(hec.url.rpartition(":")[2])
    hec.stop()
    with pytest.raises(RuntimeError, match="not running"):
        hec.stats()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_it_can_be_started_again() -> None:
    """Start and stop may be called without a `with`, more than once."""
    hec = Emulator(Settings.of(listen="127.0.0.1:0"))
    for _ in range(2):
        assert hec.start().stats()["requests"] == 0
        hec.stop()


def test_a_taken_port_is_told_where_it_is_asked_for() -> None:
    """What goes wrong at the start is raised by start, as one line."""
    with Emulator() as first, pytest.raises(SettingsError, match="cannot listen"):
        Emulator(listen=first.url.removeprefix("http://")).start()


def test_a_bad_certificate_is_told(tmp_path: Path) -> None:
    """A certificate that cannot be read is an error of usage."""
    with pytest.raises(SettingsError, match="--tls"):
        Emulator(tls=(tmp_path / "none", tmp_path / "none")).start()


def test_waiting_ends_when_the_condition_holds_or_time_is_up() -> None:
    """wait_for returns as soon as it may, and raises when it may not."""
    with Emulator(ack_delay="20ms") as hec:
        host, port = hec.url.removeprefix("http://").split(":")
        link = http.client.HTTPConnection(host, int(port), timeout=30)
        sent = {
            "Authorization": f"Splunk {hec.token}",
            "X-Splunk-Request-Channel": "c1c1c1c1-0000-4000-8000-000000000001",
        }
        link.request("POST", "/services/collector", b'{"event":"a"}', sent)
        link.getresponse().read()
        link.close()
        assert [event["event"] for event in hec.wait_for_events(1)] == ["a"]
        with pytest.raises(TimeoutError, match=r"0\.01 s"):
            hec.wait_for(lambda: False, timeout_s=0.01)


def test_an_error_inside_the_loop_reaches_the_caller() -> None:
    """Calls run on the server's thread; what they raise is raised here."""
    with Emulator() as hec:
        with pytest.raises(IndexError):
            hec.restart(5)
        with pytest.raises(SettingsError):
            hec.faults = ["nope"]
        assert hec.faults == []


def test_the_fixture_runs_an_emulator_for_one_test(pytester: pytest.Pytester) -> None:
    """`hec_emulator` works in a user's own suite, with options by a marker and strict markers."""
    pytester.makepyfile(
        """
        import pytest
        import urllib.request

        def test_plain(hec_emulator):
            assert hec_emulator.stats()["requests"] == 0
            assert b"/services/collector" in urllib.request.urlopen(hec_emulator.url).read()

        @pytest.mark.hec_emulator(nodes=2, tokens=["mine:ack"])
        def test_marked(hec_emulator):
            assert hec_emulator.token == "mine"
        """
    )
    pytester.runpytest_subprocess("-q", "--strict-markers", "-p", "no:cacheprovider").assert_outcomes(
        passed=2
    )


def test_the_plugin_loads_nothing_by_itself() -> None:
    """Other suites pay nothing for the plugin: neither the server nor msgspec nor h11 is imported."""
    code = (
        "import sys, splunk_hec_emulator.pytest_plugin;"
        "print([name for name in ('h11', 'msgspec', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=True)
    assert "h11" not in done.stdout
    assert "msgspec" not in done.stdout


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The package's lazy names fail like ordinary ones."""
    import splunk_hec_emulator

    with pytest.raises(AttributeError, match="nothing"):
        _ = splunk_hec_emulator.nothing
