"""One client per process and settings, however many DoFn instances come and go."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import pytest

from splunk_hec import ClosedError, ConfigError, Event, HecConfig
from splunk_hec_beam import clients
from splunk_hec_beam.clients import MAX_IDLE, Lease, Tally, lease

if TYPE_CHECKING:
    from splunk_hec.client import HecClient


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the token is read from."""
    monkeypatch.setenv("CLIENTS_TOKEN", "t")


def config(**settings: Any) -> HecConfig:
    """Settings of a client that reaches nobody."""
    return HecConfig(**({"url": "http://127.0.0.1:1", "token": "env:CLIENTS_TOKEN"} | settings))


def is_usable(client: HecClient) -> bool:
    """Whether it still takes events."""
    try:
        client.stream().abort()
    except ClosedError:
        return False
    return True


def end(*leases: Lease) -> None:
    """Give all back."""
    for one in leases:
        one.release()


def test_equal_settings_share_a_client_and_others_do_not() -> None:
    """Instances of one transform, or of two with equal settings, use the same lanes."""
    first, second, other = lease(config()), lease(config()), lease(config(lanes=2))
    assert first.client is second.client
    assert other.client is not first.client
    end(first, second, other)


def test_a_client_outlives_an_instance_that_is_made_for_each_bundle() -> None:
    """A runner that makes an instance for each bundle finds the client it had."""
    first = lease(config(lanes=3))
    client = first.client
    first.release()
    second = lease(config(lanes=3))
    assert second.client is client
    assert is_usable(client)
    end(second)


def test_a_lease_that_is_dropped_is_given_back() -> None:
    """Teardown is best effort: an instance that is merely collected holds nothing for ever."""
    idle = [lease(config(lanes=number)).client for number in range(10, 13 + MAX_IDLE)]
    gc.collect()
    assert [is_usable(client) for client in idle] == [False] * 3 + [True] * MAX_IDLE


def test_a_client_in_use_is_never_ended() -> None:
    """Only clients that nobody leases make room for others."""
    used = lease(config(lanes=20))
    end(*[lease(config(lanes=number)) for number in range(21, 24 + MAX_IDLE)])
    assert is_usable(used.client)
    end(used)


def test_a_token_that_cannot_be_read_is_said_at_setup() -> None:
    """A worker without the variable fails with one line, and nothing is left behind."""
    with pytest.raises(ConfigError, match="NO_SUCH_TOKEN, which is missing"):
        lease(config(token="env:NO_SUCH_TOKEN"))


def test_resends_are_handed_out_once() -> None:
    """What lanes count in their threads is taken by exactly one bundle."""
    tally = Tally()
    tally.count("resends", 1, cause="busy")
    tally.count("resends", 1, cause="busy")
    tally.count("requests", 1, status="200", code="0")
    assert tally.take_resends() == {"busy": 2}
    assert tally.take_resends() == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_a_client_of_its_own() -> None:
    """A child's copy of the parent's client cannot work, so the child does not find it."""
    parents = lease(config(lanes=30))
    parents.client.submit(Event("starts the lanes"))
    pid = os.fork()
    if not pid:
        own = lease(config(lanes=30))
        os._exit(0 if own.client is not parents.client and is_usable(own.client) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert is_usable(parents.client)
    parents.client.abort()
    end(parents)
    clients._entries.clear()
