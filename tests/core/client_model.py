"""A whole client on a virtual clock: its streams, queue, budget and workers, over modelled servers.

The client runs without threads, so that one seed is one run: the clock moves only when a request is served
or when nobody has anything to do before some time. Worlds are those of `hec_model`; this one adds what
concerns more than one lane: two addresses, one of which may die, refused /ack, proxies, limits of size, raw
bodies, and a transport that raises.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Literal

from hec_model import LOST, World

from splunk_hec import Event, HecClient, HecConfig
from splunk_hec import _protocol as protocol
from splunk_hec._protocol import Reply, Request, TransportError
from splunk_hec.errors import BudgetExceeded, Halted, InvalidEvent
from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec.testing import ManualClock

if TYPE_CHECKING:
    from splunk_hec._stream import Stream

HTML_403 = Reply(403, b"<html>blocked</html>")
FAULTS = {"invalid_event": "bad", "bad_index": "nope", "too_large": "huge", "refused_by_proxy": "attack"}
"""Reason of a rejection → the first word of the only events that may be rejected for it."""
REFUSED_CONNECTION = TransportError("connect", "connection refused", maybe_sent=False)


@dataclass
class Trouble:
    """What goes wrong with one address beside `Faults`; times are virtual seconds since the start."""

    dead: tuple[float, float] = (0.0, 0.0)
    acks_refused: tuple[float, float] = (0.0, 0.0)
    acks_off: tuple[float, float] = (0.0, 0.0)
    near_capacity: float = 0.0
    strange: float = 0.0
    max_bytes: int = 1_000_000
    proxy_minds: bool = False
    raises: float = 0.0

    @staticmethod
    def draw(rng: Random) -> Trouble:
        """Some of it."""

        def span() -> tuple[float, float]:
            start = rng.uniform(0, 60)
            return (start, start + rng.choice([5.0, 50.0, 400.0])) if rng.random() < 0.25 else (0.0, 0.0)

        return Trouble(
            dead=span(),
            acks_refused=span(),
            acks_off=span() if rng.random() < 0.3 else (0.0, 0.0),
            near_capacity=rng.choice([0.0, 0.0, 0.3]),
            strange=rng.choice([0.0, 0.0, 0.0, 0.2]),
            max_bytes=rng.choice([1_000_000, 1_000_000, 150]),
            proxy_minds=rng.random() < 0.2,
            raises=rng.choice([0.0, 0.0, 0.0, 0.02]),
        )


class Address(World):
    """A world with the troubles of one address."""

    def __init__(self, seed: int, trouble: Trouble, *, nodes: int, started_at: float) -> None:
        super().__init__(seed, nodes=nodes)
        for node in self.nodes:
            if node.habits.first_id is None:
                # Anything, but the same after each restart: rule 3 of channels stands on that.
                node.habits.first_id = self.rng.randrange(4)
                node.restart()
        self.trouble = trouble
        self.started_at = started_at
        self.is_dead_for_good = False
        self.always_has_acks = trouble.acks_off == (0.0, 0.0)

    def heal_all(self, *, but_dead: bool) -> None:
        """Nothing goes wrong any more, except what a server's habits and limits are."""
        self.heal()
        self.is_dead_for_good = but_dead
        kept = self.trouble
        self.trouble = Trouble(max_bytes=kept.max_bytes, proxy_minds=kept.proxy_minds)

    def answer(self, request: Request, now: float) -> Reply | TransportError:
        """One request."""
        trouble, since = self.trouble, now - self.started_at
        if self.is_dead_for_good or _within(since, trouble.dead):
            return REFUSED_CONNECTION if self.rng.random() < 0.7 else LOST
        if self.rng.random() < trouble.raises:
            self.fired["raised"] = self.fired.get("raised", 0) + 1
            raise RuntimeError("a fault of our own")
        body = (
            zlib.decompress(request.body, wbits=31) if "Content-Encoding" in request.headers else request.body
        )
        request = Request(request.url, request.path, {}, body, request.channel, request.deadline_s)
        path, _, query = request.path.partition("?")
        has_acks = not _within(since, trouble.acks_off)
        if path == protocol.ACK_PATH:
            if not has_acks:
                return Reply(400, b'{"text":"ACK is disabled","code":14}')
            if _within(since, trouble.acks_refused):
                return self.rng.choice([Reply(404, b"<html>"), Reply(503, b"<html>")])
        elif len(request.body) > trouble.max_bytes:
            return Reply(413, b"<html>too large</html>")
        elif trouble.proxy_minds and b"attack" in request.body:
            return HTML_403
        if path == protocol.RAW_PATH and request.body:
            lines = [
                json.dumps({"event": line.decode(), "index": "nope" if "nope" in query else "main"}).encode()
                for line in request.body.split(b"\n")
            ]
            request = Request(request.url, protocol.EVENT_PATH, {}, b"\n".join(lines), request.channel, 60.0)
        reply = self.serve(request, now)
        if path == protocol.ACK_PATH or not isinstance(reply, Reply) or reply.status != 200:
            return reply
        if self.rng.random() < trouble.strange:
            return self.rng.choice([Reply(200, b"<html>login</html>"), Reply(200, b""), Reply(200, b"{}")])
        document = (
            json.loads(reply.body) if reply.body.startswith(b'{"text"') and reply.body.endswith(b"}") else {}
        )
        if document and not has_acks:
            document.pop("ackId", None)
        if document and self.rng.random() < trouble.near_capacity:
            document["code"] = self.rng.choice([24, 25])
        return Reply(200, json.dumps(document).encode()) if document else reply


def _within(now: float, span: tuple[float, float]) -> bool:
    return span[0] <= now < span[1]


@dataclass
class Wires:
    """Makes the transports of one client and moves its clock."""

    clock: ManualClock
    addresses: dict[str, Address]
    rng: Random
    requests: int = 0
    left: int = 0

    def send(self, request: Request) -> Reply | TransportError:
        """Serve one request; it takes a while."""
        return self.start(request).reply()

    def start(self, request: Request) -> Flying:
        """The server serves it now; when its reply is taken is the client's to say."""
        self.requests += 1
        self.clock.advance(self.rng.choice([0.005, 0.02, 0.02]))
        return Flying(self, self.addresses[request.url].answer(request, self.clock.now))

    def forget(self, channel: str) -> None:
        """No cookies here."""

    def close(self) -> None:
        """No connections here."""


@dataclass
class Flying:
    """One request on its way."""

    wires: Wires
    answer: Reply | TransportError

    def is_answered(self) -> bool:
        """By luck."""
        is_there = self.wires.rng.random() < 0.3
        self.wires.left += not is_there
        return is_there

    def reply(self) -> Reply | TransportError:
        """Wait for it."""
        rng = self.wires.rng
        self.wires.clock.advance(rng.choice([0.0, 0.0, 0.3]))
        if isinstance(self.answer, TransportError) and self.answer.maybe_sent:
            self.wires.clock.advance(rng.choice([0.0, 1.0, 20.0]))
        return self.answer


@dataclass
class Counts:
    """An observer that counts."""

    found: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add."""
        self.found[name, labels.get("cause", labels.get("outcome", ""))] += int(amount)

    @property
    def resends(self) -> int:
        """Of any cause."""
        return sum(count for (name, _), count in self.found.items() if name == "resends")


class ClientRun:
    """One seed: a client of random settings, offered random events on random streams."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        rng = self.rng
        self.clock = ManualClock()
        self.counts = Counts()
        self.ack: Literal["required", "auto", "off"] = rng.choice(["required", "required", "auto", "off"])
        self.is_raw = rng.random() < 0.2
        urls = tuple(f"http://a{number}:1" for number in range(rng.choice([1, 2, 2, 3])))
        self.addresses = {url: self._address(seed * 10 + number) for number, url in enumerate(urls)}
        if rng.random() < 0.3:
            self.addresses = dict.fromkeys(urls, self.addresses[urls[0]])  # several lanes to one server
        self.config = HecConfig(
            url=urls,
            token="t",
            ack=self.ack,
            threads=False,
            gzip=rng.choice(["off", "fast"]),
            batch_max_events=rng.choice([3, 8]),
            linger_s=0.5,
            ack_deadline_s=rng.choice([5.0, 20.0]),
            on_ack_timeout=rng.choice(["resend", "resend", "unconfirmed"]),
            give_up_after_s=rng.choice([0.0, 0.0, 0.0, 30.0, 120.0]),
            halt_patience_s=rng.choice([300.0, 1e9]),
            in_flight_max_events=rng.choice([10, 1000]),
            endpoint="raw" if self.is_raw else "event",
        )
        self.wires = Wires(self.clock, self.addresses, rng)
        self.client = HecClient(
            self.config,
            observer=self.counts,
            transport_factory=lambda: self.wires,
            clock=self.clock,
            random=Random(seed),
            configured_indexes=["main"],
        )
        self.streams: list[Stream] = [self.client.stream() for _ in range(3)]
        self.open: dict[str, Stream] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.aborted: set[str] = set()
        self.numbers = iter(range(10**6))

    def _address(self, seed: int) -> Address:
        rng = self.rng
        return Address(seed, Trouble.draw(rng), nodes=rng.choice([1, 1, 2]), started_at=self.clock.now)

    # -- steps ---------------------------------------------------------------------------------------

    def offer(self) -> None:
        """Some events on some stream, as many as there is room for."""
        stream = self.rng.choice(self.streams)
        events = []
        for _ in range(self.rng.randrange(1, 7)):
            word = self.rng.choice(["e"] * 18 + ["bad", "nope", "attack", "huge"])
            name = f"{word}-{next(self.numbers)}"
            index = "nope" if word == "nope" else None
            events.append(Event(name.ljust(200, ".") if word == "huge" else name, index=index, ref=name))
        taken = len(events)
        try:
            stream.submit_many(events, timeout_s=0)
        except BudgetExceeded as error:
            taken = error.accepted
        except InvalidEvent as error:
            if error.reason != "bad_index":
                raise
            taken = 0
        except Halted:
            taken = 0
        for event in events[:taken]:
            self.open[event.ref] = stream

    def poll(self) -> None:
        """Take all outcomes; each must be of an open event, once."""
        for stream in self.streams:
            for outcome in stream.poll():
                for ref in outcome.refs:
                    assert ref not in self.outcomes, f"{ref} was settled twice"
                    assert self.open.get(ref) is stream, f"{ref} came from another stream, or was aborted"
                    self.outcomes[ref] = outcome

    def abort_one(self) -> None:
        """A stream is aborted in mid-flight and another takes its place."""
        place = self.rng.randrange(len(self.streams))
        stream = self.streams[place]
        self.poll()
        stream.abort()
        self.aborted |= {
            ref for ref, owner in self.open.items() if owner is stream and ref not in self.outcomes
        }
        self.streams[place] = self.client.stream()

    def turn(self) -> None:
        """Do what is due; if that is nothing, let time pass until something is."""
        before = self.wires.requests
        wake = self.client._crew.turn()
        if self.wires.requests == before:
            linger = self.client.queue.next_linger()
            self.clock.now = max(self.clock.now + 0.001, min(wake, linger if linger is not None else wake))

    def servers(self) -> list[Address]:
        """Each once, also if several addresses lead there."""
        return list({id(address): address for address in self.addresses.values()}.values())

    def unsettled(self) -> set[str]:
        """What was accepted, not aborted, and has no outcome."""
        return set(self.open) - self.aborted - set(self.outcomes)


def run_seed(seed: int, *, turns: int = 120) -> ClientRun:
    """Trouble for a while, then none (but one of several addresses may stay dead), until all is settled."""
    run = ClientRun(seed)
    rng = run.rng
    for _ in range(rng.randrange(10, turns)):
        step = rng.random()
        if step < 0.35:
            run.offer()
        elif step < 0.37:
            run.abort_one()
        elif step < 0.5:
            run.poll()
        elif step < 0.52:
            run.clock.advance(rng.choice([5.0, 60.0, 700.0]))
        else:
            run.turn()
    servers = run.servers()
    dead = rng.randrange(len(servers)) if len(servers) > 1 and rng.random() < 0.5 else None
    for number, address in enumerate(servers):
        address.heal_all(but_dead=number == dead)
    for _ in range(40_000):
        run.poll()
        if not run.unsettled():
            break
        run.turn()
    for address in run.servers():
        address.now = max(address.now, run.clock.now) + 10_000
        address.settle_disk()
    return run


def complaints(run: ClientRun) -> list[str]:
    """What the run violates; empty if it kept every promise."""
    found = [f"stuck {sorted(run.unsettled())[:5]} {run.client!r}"] if run.unsettled() else []
    budget = run.client.budget
    if not run.unsettled() and (budget.used_events or budget.used_bytes):
        found.append(f"the budget leaks: {budget!r}")
    indexed: Counter[str] = Counter()
    for address in run.servers():
        indexed.update({name.rstrip("."): times for name, times in address.indexed.items()})
    by_acks = run.ack == "required" or (
        run.ack == "auto" and all(address.always_has_acks for address in run.servers())
    )
    may_fail = {OutcomeKind.GAVE_UP: run.config.give_up_after_s > 0, OutcomeKind.UNCONFIRMED: True}
    raised = sum(address.fired.get("raised", 0) for address in run.servers())
    for ref, outcome in run.outcomes.items():
        is_poison = FAULTS.get(outcome.reason) == ref.partition("-")[0]
        needs_ack = by_acks or (run.ack == "auto" and not outcome.http_status)
        if outcome.kind is OutcomeKind.DELIVERED and needs_ack and not indexed[ref]:
            found.append(f"{ref} is falsely confirmed")
        elif outcome.kind is OutcomeKind.REJECTED and not is_poison:
            found.append(f"{ref} is rejected without a fault of its own: {outcome.reason}")
        elif outcome.kind is OutcomeKind.REJECTED and indexed[ref] and not run.counts.resends:
            found.append(f"{ref} is rejected and indexed")
        elif (
            outcome.kind in may_fail
            and not may_fail[outcome.kind]
            and not (raised and outcome.reason == "internal")
        ):
            found.append(f"{ref} ended as {outcome.kind} {outcome.reason}")
    doubled = [ref for ref, times in indexed.items() if times > 1]
    if doubled and not run.counts.resends and not raised:
        found.append(f"duplicates without a counted cause: {doubled[:3]}")
    return found
