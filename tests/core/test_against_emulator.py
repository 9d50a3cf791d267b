"""The real client over real sockets against the emulator: nothing lost, nothing doubled without a cause.

Every run is audited from outside: what the emulator has on its disk, against the outcomes of the client.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hec_desk import Counts

from splunk_hec import Event, HecClient, HecConfig, Outcome, OutcomeKind
from splunk_hec_emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN = "mine"
POISON = {
    "empty": b'{"event":""}',
    "blank": b'{"event":"  "}',
    "null": b'{"event":null}',
    "no event": b'{"host":"h"}',
    "nested": b'{"event":"x","fields":{"a":{"b":1}}}',
    "bad time": b'{"event":"x","time":"abc"}',
    "bad index": b'{"event":"x","index":"nope"}',
    "not json": b"{not json",
    "too large": b'{"event":"' + b"x" * 20_000 + b'"}',
}


def emulator(*faults: str, **settings: Any) -> Emulator:
    """One that acknowledges quickly and knows the index main only."""
    given = {
        "ack_delay": "0.02s", "tokens": [f"{TOKEN}:ack:index=main", "plain:index=main"],
        "max_event_bytes": 10_000, "faults": faults, **settings,
    }  # fmt: skip
    return Emulator(**given)


class Run:
    """A client of small batches and short deadlines, what it was given and what became of that."""

    def __init__(self, hec: Emulator | Sequence[str], **settings: Any) -> None:
        self.emulator = hec if isinstance(hec, Emulator) else None
        self.counts = Counts()
        given = {
            "url": hec.url if isinstance(hec, Emulator) else list(hec), "token": TOKEN, "lanes": 2,
            "linger_s": 0.01, "batch_max_events": 6, "request_deadline_s": 0.4, "ack_deadline_s": 0.6,
            **settings,
        }  # fmt: skip
        self.hec = HecClient(HecConfig(**given), observer=self.counts)
        self.stream = self.hec.stream()
        self.sent: dict[str, bool] = {}
        self.outcomes: list[Outcome] = []

    def send(self, count: int = 40, poison_every: int = 0) -> None:
        """Good events, and poison of every kind in between."""
        kinds = list(POISON.items())
        lines, refs = [], []
        for _ in range(count):
            number = len(self.sent)
            is_good = not poison_every or number % poison_every != 1
            ref = f"e-{number}" if is_good else f"{kinds[number // poison_every % len(kinds)][0]}-{number}"
            lines.append(b'{"event":"%b"}' % ref.encode() if is_good else POISON[ref.rpartition("-")[0]])
            refs.append(ref)
            self.sent[ref] = is_good
        assert self.stream.submit_lines(lines, refs, timeout_s=20) == count

    def finish(self) -> dict[OutcomeKind, set[str]]:
        """Everything settled, each event once, and the budget is free again."""
        try:
            assert self.stream.flush(30) == 0, self.hec._crew.workers
            self.outcomes += self.stream.poll()
        finally:
            self.hec.abort()
        refs = [ref for outcome in self.outcomes for ref in outcome.refs]
        assert len(refs) == len(set(refs)), "an event was settled twice"
        assert set(refs) == set(self.sent)
        assert self.hec.budget.used_events == 0
        return {
            kind: {ref for outcome in self.outcomes if outcome.kind is kind for ref in outcome.refs}
            for kind in OutcomeKind
        }

    def audit(self) -> None:
        """The good events are indexed, the poison is rejected, and doubles have a counted cause."""
        ended = self.finish()
        assert self.emulator is not None
        self.emulator.wait_for(lambda: self.waiting == 0)
        indexed = Counter(event["event"] for event in self.emulator.events())
        good = {ref for ref, is_good in self.sent.items() if is_good}
        assert ended[OutcomeKind.DELIVERED] == good
        assert ended[OutcomeKind.REJECTED] == set(self.sent) - good
        assert set(indexed) == good
        doubled = sum(indexed.values()) - len(indexed)
        resends = sum(count for name, count in self.counts.items() if name.startswith("resends/"))
        assert doubled <= 6 * resends
        if not doubled:
            return
        causes = {name for name in self.counts if name.startswith("resends/")}
        assert causes - {"resends/busy"}, "a busy server took nothing, or said what it took"

    @property
    def waiting(self) -> int:
        """Events that the emulator has taken and not yet on its disk."""
        assert self.emulator is not None
        return int(self.emulator.stats()["events_waiting"])

    @property
    def reasons(self) -> dict[str, str]:
        """Why each rejected event was."""
        return {
            ref: one.reason for one in self.outcomes if one.kind is OutcomeKind.REJECTED for ref in one.refs
        }


def test_good_path_delivers_each_event_once() -> None:
    """Without faults: acknowledged, indexed once, nothing sent twice."""
    with emulator() as hec:
        run = Run(hec)
        run.send(100)
        run.audit()
        assert len(hec.events()) == 100
        assert not any(name.startswith("resends") for name in run.counts)
        assert hec.stats()["acks_pending"] == 0


@pytest.mark.parametrize("gzip", ["fast", "small", "off"])
def test_each_coding_is_read(gzip: str) -> None:
    """Whatever the compression, the events arrive as they were."""
    with emulator() as hec:
        run = Run(hec, gzip=gzip)
        run.send(20)
        run.audit()


def test_metadata_time_and_fields_arrive() -> None:
    """What an event says of itself is what is indexed."""
    with (
        emulator() as hec,
        HecClient(HecConfig(url=hec.url, token=TOKEN, linger_s=0.01, lanes=1, host="h")) as client,
    ):
        client.submit(
            Event(
                {"a": [1, "ü"]},
                time=1_700_000_000.25,
                source="s",
                sourcetype="st",
                index="main",
                fields={"k": "v"},
            )
        )
        assert client.flush(20) == 0
        [event] = hec.events()
    assert event["event"] == {"a": [1, "ü"]}
    assert {name: event[name] for name in ("host", "source", "sourcetype", "index", "fields")} == {
        "host": "h", "source": "s", "sourcetype": "st", "index": "main", "fields": {"k": "v"},
    }  # fmt: skip
    assert float(event["time"]) == 1_700_000_000.25


def test_every_kind_of_poison_costs_itself_only() -> None:
    """Amid good events each poison is rejected with its reason; its neighbours are indexed once."""
    with emulator() as hec:
        run = Run(hec, batch_max_events=50, lanes=1)
        run.send(90, poison_every=5)
        run.audit()
        assert max(Counter(event["event"] for event in hec.events()).values()) == 1
        assert {ref.rpartition("-")[0]: reason for ref, reason in run.reasons.items()} == {
            "empty": "blank", "blank": "blank", "null": "invalid_event", "no event": "invalid_event",
            "nested": "bad_fields", "bad time": "bad_fields", "bad index": "bad_index",
            "not json": "invalid_event", "too large": "invalid_event",
        }  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    [
        "busy,count=2", "busy:2,count=3", "throttle:0,count=2", "throttle:0/3,count=2",
        "throttle:date+0,count=1",
        "error500,count=1", "error500:taken,count=2", "near-capacity,count=3", "shutting-down,count=2",
        "reset-before,count=2", "reset-after,count=2", "cut-status,count=2", "cut-headers,count=2",
        "cut-body,count=2", "empty200,count=2", "html200,count=2", "html503,count=2", "status:502,count=1",
        "status:403,count=1", "status:413,count=2", "drip,count=1", "hang:0.6,count=1", "ack-never,count=1",
        "lose-after-200,count=1", "ack-error:404,count=2", "ack-error:503,count=2", "ack-lost,count=1",
        "acks-down,count=2", "restart,count=2", "restart:reset,count=2", "queue-full,count=2",
    ],
)  # fmt: skip
def test_no_fault_loses_an_event(fault: str) -> None:
    """Whatever goes wrong on the way, everything good ends up indexed, and a double has its cause."""
    with emulator(fault) as hec:
        run = Run(hec)
        run.send(30, poison_every=9)
        run.audit()
        assert hec.faults[0]["fired"] >= 1, "the fault did not strike"


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "legacy-7"}, {"profile": "ent-9"}, {"profile": "cloud-10.5"},
        {"ack_ids_start": "one"}, {"ack_ids_start": "random"}, {"ack_ids_after_restart": "continued"},
        {"ack_ids_after_restart": "random"}, {"ack_counter": "node"}, {"ack_true": "always"},
        {"refusal_prefix_ack": "hidden"}, {"refusal_prefix_ack": "none"}, {"busy_prefix_ack": "hidden"},
        {"busy_prefix_ack": "none"}, {"refusal_consumes_id": True}, {"busy_consumes_id": True},
        {"empty_post_consumes_id": True}, {"near_capacity_has_ack_id": False}, {"incorrect_index_base": 0},
        {"fields_error_has_number": False}, {"has_capacity_codes": False},
        {"channel_is_case_sensitive": True}, {"max_idle_time_s": 0.6, "ack_delay": "0.3s"},
        {"max_pending_acks_per_channel": 2}, {"max_channels": 6},
        {"scheme_is_case_sensitive": True}, {"accepts_array_body": False}, {"duplicate_keys": "refuse"},
        {"ack_delay": "0.01s..0.3s"},
        {"refusal_consumes_id": True, "refusal_prefix_ack": "hidden", "ack_ids_start": "one"},
    ],
    ids=lambda settings: ",".join(f"{key}={value}" for key, value in settings.items()),
)  # fmt: skip
def test_no_unknown_of_splunk_loses_an_event(settings: dict[str, Any]) -> None:
    """What nobody has measured may be either way: poison, busy, a lost reply and a restart lose nothing."""
    faults = (
        "busy:2,count=1",
        "near-capacity,count=1",
        "reset-after,count=1",
        "restart,count=1",
        "ack-lost,count=1",
    )
    with emulator(*faults, **settings) as hec:
        run = Run(hec)
        run.send(30, poison_every=7)
        run.audit()


@pytest.mark.parametrize("balance", ["sticky", "round-robin"])
def test_two_indexers_behind_one_address_confirm_nothing_falsely(balance: str) -> None:
    """Their ids collide; a lane keeps its cookies and compares every id, so nothing is lost under either."""
    with emulator(nodes=2, balance=balance) as hec:
        run = Run(hec, ack_deadline_s=1.5)
        run.send(40, poison_every=9)
        run.audit()
        if balance == "sticky":
            assert not any(name.startswith("resends/ack") for name in run.counts)
            assert len({event["node"] for event in hec.events()}) == 2


def test_restarts_in_the_middle_lose_nothing() -> None:
    """A node that restarts forgets channels and what is not on its disk; all of that is sent again."""
    with emulator(nodes=2, ack_delay="0.1s") as hec:
        run = Run(hec)
        for node in (0, 1, 0):
            run.send(20)
            run.stream.flush(0.05)
            hec.restart(node)
        run.audit()


@pytest.mark.parametrize("settings", [{"ack_delay": "never"}, {"ack_true": "never"}])
def test_acks_that_never_come_are_not_delivery(settings: dict[str, str]) -> None:
    """With on_ack_timeout=unconfirmed, what was taken and never confirmed ends as that and is not resent."""
    with emulator(**settings) as hec:
        run = Run(hec, on_ack_timeout="unconfirmed", batch_max_events=3, lanes=1)
        run.send(3)
        assert run.finish()[OutcomeKind.UNCONFIRMED] == set(run.sent)
        assert len(hec.events()) == 3


@pytest.mark.parametrize("token", [TOKEN, "plain"])
def test_acks_off_delivers_what_was_accepted(token: str) -> None:
    """With acks off a 200 is enough, and on a token with acks their statuses are fetched all the same."""
    with emulator("busy:2,count=2") as hec:
        run = Run(hec, ack="off", token=token)
        run.send(30, poison_every=7)
        run.audit()


@pytest.mark.parametrize(("token", "has_acks"), [(TOKEN, True), ("plain", False)])
def test_auto_follows_the_token(token: str, has_acks: bool) -> None:
    """ack=auto waits for acks where there are some, and takes acceptance where there are none."""
    with emulator() as hec:
        run = Run(hec, ack="auto", token=token)
        run.send(12)
        run.audit()
        assert bool(hec.stats()["acks_told"]) is has_acks


def test_raw_text_arrives() -> None:
    """The raw endpoint takes lines with their metadata in the query, acknowledged like events."""
    with emulator(raw_line_breaking=True) as hec:
        config = HecConfig(url=hec.url, token=TOKEN, endpoint="raw", lanes=1, linger_s=0.01, sourcetype="st")
        with HecClient(config) as client:
            client.submit_many([Event("one", host="h"), Event("two", host="h"), Event(b"three")])
            assert client.flush(20) == 0
        found = {(event["event"], event["sourcetype"]) for event in hec.events()}
    assert found == {("one", "st"), ("two", "st"), ("three", "st")}


def test_client_without_threads_does_the_same() -> None:
    """threads=False: the same lanes, turned inside the caller's calls."""
    with emulator("reset-after,count=1", "busy:2,count=1") as hec:
        run = Run(hec, threads=False)
        run.send(30, poison_every=7)
        run.audit()


def test_disabled_token_is_held_until_it_is_enabled() -> None:
    """A refused token rejects nothing: once it is enabled, what was held is delivered."""
    with emulator(tokens=[f"{TOKEN}:ack:disabled", "other:ack"]) as hec:
        run = Run(hec)
        run.send(12)
        hec.wait_for(lambda: hec.stats()["replies"].get("403/1", 0) >= 2)
        assert not run.stream.poll()
        hec.set_tokens(f"{TOKEN}:ack")
        run.audit()


def test_refused_default_index_is_held_until_it_exists() -> None:
    """An index of the configuration that Splunk refuses loses no event either."""
    with emulator() as hec:
        run = Run(hec, index="nope", batch_max_events=3)
        run.hec.submit(Event("e", ref="e"))
        hec.wait_for(lambda: hec.stats()["replies"].get("400/7", 0) >= 1)
        assert not run.hec.poll()
        hec.set_tokens(f"{TOKEN}:ack")
        assert run.hec.flush(20) == 0
        assert [outcome.kind for outcome in run.hec.poll()] == [OutcomeKind.DELIVERED]
        run.hec.abort()


def test_required_acks_on_a_plain_token_halt() -> None:
    """A token without acks never counts as confirming; probe says so in advance."""
    with emulator() as hec:
        run = Run(hec, token="plain")
        assert run.hec.probe().acks is False
        run.send(3)
        hec.wait_for(lambda: hec.stats()["replies"].get("400/14", 0) >= 2)
        assert run.hec.health().halted
        assert run.hec.health().reasons[0].code == "acks_disabled"
        run.hec.abort()
        assert run.stream.poll()[0].kind is OutcomeKind.GAVE_UP


def test_dead_endpoint_costs_nothing_beside_a_good_one() -> None:
    """Of two addresses one is dead: everything goes to the other."""
    with emulator() as gone:
        dead = gone.url
    with emulator() as hec:
        run = Run([dead, hec.url])
        run.send(30)
        run.emulator = hec
        run.audit()


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (TOKEN, (True, True, "ok")),
        ("plain", (True, False, "ok")),
        ("wrong", (False, None, "invalid_token")),
        ("off", (False, None, "token_disabled")),
    ],
)
def test_probe_knows_a_token_without_indexing(token: str, expected: tuple[object, ...]) -> None:
    """Good, bad and disabled tokens are told apart, and no event is made."""
    with emulator(tokens=[f"{TOKEN}:ack", "plain", "off:disabled"]) as hec:
        run = Run(hec, token=token)
        probe = run.hec.probe()
        run.hec.abort()
        assert (probe.token_ok, probe.acks, probe.reason) == expected
        assert hec.stats()["events_accepted"] == 0
