"""A bundle on its way to Splunk: complete, or an exception; other bundles go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from splunk_hec import DeliveryFailed, Event, Halted, HecConfig
from splunk_hec_beam import BundleNotDelivered, clients
from splunk_hec_beam.bundle import Bundle, Ended
from splunk_hec_beam.elements import ElementEncoder
from splunk_hec_beam.metrics import BundleMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from splunk_hec_emulator import Emulator


@pytest.fixture
def make(hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bundle]]:
    """Makes bundles for the emulator; unknown keywords are settings of the client."""
    monkeypatch.setenv("BUNDLE_TOKEN", hec_emulator.token)
    leases: list[clients.Lease] = []

    def bundle(*, deadline_s: float = 30, fails_on_reject: bool = False, **hec: Any) -> Bundle:
        settings: dict[str, Any] = {"url": hec_emulator.url, "token": "env:BUNDLE_TOKEN", "linger_s": 0.05}
        lease = clients.lease(HecConfig(**(settings | hec)))
        leases.append(lease)
        encoder = ElementEncoder(lease.client, to_event=None, takes_timestamps=True, event_id_field=None)
        return Bundle(
            lease, encoder, BundleMetrics(""), deadline_s=deadline_s, fails_on_reject=fails_on_reject
        )

    yield bundle
    for lease in leases:
        lease.release()


def windowed(*values: Any) -> list[WindowedValue]:
    """Elements with timestamps in their order."""
    return [WindowedValue(value, Timestamp(at), (GlobalWindow(),)) for at, value in enumerate(values, 1_000)]


def complete(bundle: Bundle, *values: Any) -> Ended:
    """Submit and finish."""
    bundle.submit(windowed(*values))
    bundle.finish()
    return bundle.take()


@pytest.mark.hec_emulator(ack_delay="0.2s")
def test_a_finished_bundle_is_indexed(make: Callable[..., Bundle], hec_emulator: Emulator) -> None:
    """When `finish` returns, every event is durable, and the receipts count each once."""
    receipts, dead = complete(make(batch_max_events=10), *(f"line {number}" for number in range(95)))
    assert len(hec_emulator.events()) == 95
    assert sum(receipt.events for receipt, _ in receipts) == 95
    assert all(receipt.ack_latency_s > 0 and receipt.attempts == 1 for receipt, _ in receipts)
    assert {receipt.endpoint for receipt, _ in receipts} == {hec_emulator.url}
    assert dead == []


def test_a_receipt_takes_the_place_of_its_newest_event(make: Callable[..., Bundle]) -> None:
    """Receipts go where the newest event of their batch stood."""
    [(receipt, at)], _ = complete(make(), "a", "b", "c")
    assert (receipt.events, at.timestamp) == (3, Timestamp(1_002))


@pytest.mark.hec_emulator(ack_delay=0, tokens=["T:ack:index=main"])
def test_a_refused_event_is_a_dead_letter_with_what_was_sent(make: Callable[..., Bundle]) -> None:
    """Splunk's refusal comes back with the element itself, its envelope, the reply and the tries."""
    bad = Event("to nowhere", index="other")
    receipts, [(letter, at)] = complete(make(), "good", bad, "good too")
    assert sum(receipt.events for receipt, _ in receipts) == 2
    assert letter.element == bad
    assert letter.event_bytes == b'{"time":1001,"index":"other","event":"to nowhere"}'
    assert (letter.reason, letter.http_status, letter.code) == ("bad_index", 400, 7)
    assert letter.attempts >= 1
    assert at.timestamp == Timestamp(1_001)


@pytest.mark.hec_emulator(ack_delay=0, max_event_bytes=60)
def test_a_refused_text_is_rebuilt_from_its_envelope(make: Callable[..., Bundle]) -> None:
    """A text is not kept while it is in flight; a dead letter holds it all the same, exactly."""
    text = 'ünïcode "quoted"\n' * 9
    _, [(letter, at)] = complete(make(), "good", text, "good too")
    assert (letter.element, letter.reason) == (text, "invalid_event")
    assert text[:5].encode() in letter.event_bytes
    assert at.timestamp == Timestamp(1_001)


def test_a_refusal_fails_the_bundle_where_that_was_chosen(make: Callable[..., Bundle]) -> None:
    """With `on_reject="fail"` nothing is put aside: the bundle raises."""
    with pytest.raises(DeliveryFailed, match="blank"):
        make(fails_on_reject=True).submit(windowed("good", " "))


@pytest.mark.hec_emulator(ack_delay="never")
def test_a_bundle_that_is_not_acknowledged_in_time_raises(make: Callable[..., Bundle]) -> None:
    """A spent deadline says how many events are open and why, and delivers no receipt."""
    bundle = make(deadline_s=0.3)
    bundle.submit(windowed("a", "b"))
    with pytest.raises(BundleNotDelivered, match=r"2 events .* bundle_deadline_s = 0.3 s \(acknowledgements"):
        bundle.finish()
    bundle.abort()
    assert bundle.take() == Ended([], [])


@pytest.mark.hec_emulator(faults=["hang"])
def test_a_full_budget_waits_no_longer_than_the_deadline(make: Callable[..., Bundle]) -> None:
    """With no room in the budget `submit` gives up at the deadline instead of waiting for ever."""
    bundle = make(deadline_s=0.3, in_flight_max_events=10)
    bundle.submit(windowed(*(f"first {at}" for at in range(10))))
    with pytest.raises(BundleNotDelivered, match="bundle_deadline_s"):
        bundle.submit(windowed("one more"))
    bundle.abort()


def test_a_refused_deployment_raises_after_the_patience(
    make: Callable[..., Bundle], hec_emulator: Emulator
) -> None:
    """A token that Splunk does not take is named in the exception; no event becomes a dead letter."""
    hec_emulator.set_tokens("another:ack")
    bundle = make(halt_patience_s=0.1)
    bundle.submit(windowed("a"))
    with pytest.raises(Halted, match="invalid_token"):
        bundle.finish()
    bundle.abort()
    assert bundle.take().dead_letters == []


@pytest.mark.hec_emulator(ack_delay="0.3s")
def test_an_aborted_bundle_hurts_no_other(make: Callable[..., Bundle]) -> None:
    """Bundles share a client; when one is dropped half-way, the other gets exactly its own receipts."""
    first, second = make(batch_max_events=7), make(batch_max_events=7)
    for at in range(5):
        first.submit(windowed(*(f"first {at} {number}" for number in range(9))))
        second.submit(windowed(*(f"second {at} {number}" for number in range(9))))
    first.abort()
    second.finish()
    assert sum(receipt.events for receipt, _ in second.take().receipts) == 45
    assert first.take() == Ended([], [])


@pytest.mark.hec_emulator(ack_delay=0)
def test_what_is_outlived_by_give_up_after_is_a_dead_letter(
    make: Callable[..., Bundle], hec_emulator: Emulator
) -> None:
    """With `give_up_after_s` an event that cannot be sent ends as a dead letter, its text intact."""
    hec_emulator.set_faults("busy")
    _, dead = complete(make(give_up_after_s=0.2), "one", "two")
    assert [(letter.element, letter.reason) for letter, _ in dead] == [("one", "gave_up"), ("two", "gave_up")]
    assert [letter.event_bytes for letter, _ in dead] == [
        b'{"time":1000.0,"event":"one"}',
        b'{"time":1001.0,"event":"two"}',
    ]
