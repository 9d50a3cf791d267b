"""Batches: envelopes gathered, sealed, cut. Pure, not thread-safe: one owner at a time.

A `Batch` moves: its stream's builder → the queue → one lane (→ the queue → another lane). Whoever has it
owns it; nothing in here is locked.

    open     a BatchBuilder; may still grow, never sent
    sealed   a Batch; its envelopes never change, only its state of delivery does
    cut      two batches that share the envelopes of the first, which must not be used any more
    settled  every event has its outcome; a settled batch must not be posted, settled or cut again

Non-obvious: one envelope is one line, so a body can be cut by counting lines and needs no table of
offsets. Raw text may hold line ends inside an event; there the builder keeps the lengths.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from splunk_hec._block import Block
    from splunk_hec._channel import Attempt
    from splunk_hec.events import Manifest
    from splunk_hec.observe import Cause

REF_BYTES = 340
"""What one event's ref is taken to cost in memory (a held Kafka message of 512 B takes 851 B)."""


class Codec(Protocol):
    """Compresses bodies. Stateless: any thread."""

    @property
    def encoding(self) -> str:
        """The Content-Encoding it makes."""
        ...

    def compress(self, body: bytes) -> bytes:
        """The body as it goes on the wire."""
        ...

    def decompress(self, body: bytes) -> bytes:
        """The inverse."""
        ...


class Owner(Protocol):
    """Whose events a batch holds: a stream. `is_aborted` may turn True at any time, once."""

    is_aborted: bool


class Batch:
    """Sealed envelopes, what they stand for, and how far their delivery has come.

    Attributes:
        id: `17`; pieces of it are `17.0`, `17.1`, and so on.
        manifest: The refs or runs of the events, in the order of the envelopes.
        count: How many events.
        query: URL query for the raw endpoint; empty otherwise.
        owner: The stream that gets the outcomes.
        sealed_at: Monotonic seconds.
        size_bytes: Decoded size.
        charge_bytes: What it holds of the budget.
        attempts: POSTs that carried it.
        ack_id: In the reply to the last of them; None if there was none. For the log: what counts is `live`.
        first_attempt_s: Seconds since 1970 of the first of them; 0.0 before.
        live: Attempts whose ids are still asked; the first `true` of any settles the batch.
        is_queued: It waits in its lane to be posted.
        is_plain: Send uncompressed (something on the way refused the compressed form).
        moves: How often a failed worker's successor inherited it.
    """

    __slots__ = (
        "_body", "_charged_body", "_lengths", "_packed", "ack_id", "attempts", "cause", "charge_bytes",
        "count", "first_attempt_s", "id", "is_plain", "is_queued", "is_settled", "live", "manifest", "moves",
        "owner", "query", "sealed_at", "size_bytes",
    )  # fmt: skip

    def __init__(
        self,
        batch_id: str,
        body: bytes,
        manifest: Manifest,
        *,
        owner: Owner,
        charge_bytes: int,
        sealed_at: float,
        query: str = "",
        lengths: list[int] | None = None,
    ) -> None:
        """Seal `body` (envelopes joined by LF); `lengths` of the envelopes, for raw bodies only."""
        self.id = batch_id
        self._body: bytes | None = body
        self._packed: bytes | None = None
        self._lengths = lengths
        self.manifest = manifest
        self.count = len(manifest)
        self.query = query
        self.owner = owner
        self.sealed_at = sealed_at
        self.size_bytes = len(body)
        self.charge_bytes = charge_bytes
        self._charged_body = len(body)
        self.attempts = 0
        self.ack_id: int | None = None
        self.first_attempt_s = 0.0
        self.cause: Cause | None = None
        self.live: list[Attempt] = []
        self.is_queued = False
        self.is_settled = False
        self.is_plain = False
        self.moves = 0

    def __repr__(self) -> str:
        return f"<Batch {self.id} | {self.count} events {self.size_bytes} B | attempts {self.attempts}>"

    def note_attempt(self, wall_s: float, ack_id: int | None) -> None:
        """A POST carried it; `wall_s` in seconds since 1970, `ack_id` as in the reply."""
        self.attempts += 1
        self.first_attempt_s = self.first_attempt_s or wall_s
        self.ack_id = ack_id

    def wire(self, codec: Codec | None) -> bytes:
        """The body to send, compressed unless `is_plain`; from then on only the compressed form is held."""
        if codec is None or self.is_plain:
            return self.body(codec)
        if self._packed is None:
            self._packed = codec.compress(self.body(codec))
            self._body = None
        return self._packed

    def body(self, codec: Codec | None) -> bytes:
        """The decoded body."""
        if self._body is not None:
            return self._body
        if codec is None or self._packed is None:
            raise AssertionError(f"batch {self.id} has neither a body nor a packed one")
        return codec.decompress(self._packed)

    def take_saving(self) -> int:
        """Lower the charge by what packing has saved since it was last asked; returns how much."""
        if self._packed is None:
            return 0
        saved = max(0, self._charged_body - len(self._packed))
        self._charged_body -= saved
        self.charge_bytes -= saved
        return saved

    def envelopes(self, codec: Codec | None) -> list[bytes]:
        """The single envelopes."""
        body = self.body(codec)
        if self._lengths is None:
            return body.split(b"\n")
        starts = [0, *accumulate(length + 1 for length in self._lengths)]
        return [body[start : start + length] for start, length in zip(starts, self._lengths, strict=False)]

    def cut(self, at: Iterable[int], codec: Codec | None) -> list[Batch]:
        """The pieces between 0, each index of `at`, and the end; empty ones are left out.

        The attempts of this batch end: a `true` for all of it says too much about a piece of it, so the
        caller must stop asking for the ids in `live`.
        """
        envelopes = self.envelopes(codec)
        self.is_settled = True  # its events live on in the pieces
        edges = sorted({0, self.count, *at})
        pieces: list[Batch] = []
        charge_left = self.charge_bytes
        for number, (start, end) in enumerate(pairwise(edges)):
            charge = charge_left if end == self.count else self.charge_bytes * (end - start) // self.count
            charge_left -= charge
            part = envelopes[start:end]
            piece = Batch(
                f"{self.id}.{number}",
                b"\n".join(part),
                self.manifest[start:end],
                owner=self.owner,
                charge_bytes=charge,
                sealed_at=self.sealed_at,
                query=self.query,
                lengths=None if self._lengths is None else [len(envelope) for envelope in part],
            )
            piece.attempts, piece.first_attempt_s = self.attempts, self.first_attempt_s
            piece.ack_id = self.ack_id
            piece.is_plain, piece.moves = self.is_plain, self.moves
            piece._charged_body = 0  # its share of the charge may already be that of the packed form
            pieces.append(piece)
        return pieces


class BatchBuilder:
    """Gathers envelopes up to a size and a count. Owned by its stream, under the queue's lock.

    `opened_at`: when the oldest of them came; infinitely late while there are none.
    """

    def __init__(
        self, owner: Owner, *, max_bytes: int, max_events: int, query: str = "", raw: bool = False
    ) -> None:
        self._owner = owner
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._query = query
        self._is_raw = raw
        self._reset()

    def _reset(self) -> None:
        self._blocks: list[Block] = []
        self._manifests: list[Any] = []
        self._count = 0
        self._bytes = 0
        self._held_bytes = 0
        self.opened_at = math.inf

    def __len__(self) -> int:
        return self._count

    def room(self, block: Block) -> int:
        """How many lines of `block`, from the first, still fit; at least 1 if the builder is empty."""
        most = min(block.fitting(self._max_bytes - self._bytes), self._max_events - self._count)
        return most or (0 if self._count else 1)

    def add(self, block: Block, manifest: Manifest, held_bytes: int, now: float) -> None:
        """Take all of `block`; the caller asked `room` first. `held_bytes`: what the caller keeps of it."""
        if not self._count:
            self.opened_at = now
        self._blocks.append(block)
        if isinstance(manifest, list) and self._manifests:
            self._manifests[-1].extend(manifest)
        else:
            self._manifests.append(manifest[:] if isinstance(manifest, list) else manifest)
        self._count += len(block)
        self._bytes += block.size_bytes
        self._held_bytes += held_bytes

    @property
    def is_full(self) -> bool:
        """Nothing more fits, or so little that waiting for it is no use."""
        return self._count >= self._max_events or self._bytes >= self._max_bytes

    def seal(self, batch_id: str, now: float) -> Batch | None:
        """The envelopes so far as a batch; None if there are none. The builder is empty again."""
        if not self._count:
            return None
        batch = Batch(
            batch_id,
            b"\n".join([block.body for block in self._blocks]),
            join(self._manifests),
            owner=self._owner,
            charge_bytes=self._bytes + self._held_bytes,
            sealed_at=now,
            query=self._query,
            lengths=[len(line) for block in self._blocks for line in block] if self._is_raw else None,
        )
        self._reset()
        return batch


class Lines:
    """The envelopes of a batch that failed, unpacked when they are looked at."""

    def __init__(self, batch: Batch, codec: Codec | None) -> None:
        self._batch = batch
        self._codec = codec

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._batch.envelopes(self._codec))


def join(manifests: list[Any]) -> Any:
    """One manifest of many: a list has grown in place, others know how to `join` themselves."""
    if len(manifests) == 1:
        return manifests[0]
    kind: Any = cast("Any", type(manifests[0]))
    return kind.join(manifests)
