"""One HEC client per process and configuration, shared by all DoFn instances that ask for it.

Runners make many instances of a DoFn, some of them one a bundle, in several threads of one process; a client
each would mean lanes, connections and channels each. Not for streams: each bundle has its own.
Threads: any. Guarantees: a lease that is dropped without `release` (teardown is best effort) is released when
it is collected; at most `MAX_IDLE` clients that nobody leases are kept, so that a runner which makes an
instance a bundle finds its client again.

Non-obvious: `beam.utils.shared` would key by transform and hold by weak reference; here two transforms with
equal settings share, and who holds a client is counted.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from splunk_hec.client import HecClient

if TYPE_CHECKING:
    from splunk_hec.config import HecConfig

MAX_IDLE = 2


class Tally:
    """A client's observer: what its lanes sent again, kept until a bundle counts it. Any thread.

    Beam's counters know the bundle by its thread; counted from a lane's thread they would be lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resends: Counter[str] = Counter()

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """See `splunk_hec.observe.Observer`."""
        if name == "resends":
            with self._lock:
                self._resends[labels["cause"]] += int(amount)

    def take_resends(self) -> Counter[str]:
        """Resends by cause since somebody last asked."""
        if not self._resends:
            return Counter()
        with self._lock:
            taken, self._resends = self._resends, Counter()
            return taken


class _Entry:
    def __init__(self, client: HecClient, tally: Tally) -> None:
        self.client = client
        self.tally = tally
        self.leases = 0


class Lease:
    """The right to use a client, until it is released or collected.

    Attributes:
        client: The client.
        tally: Its observer.
    """

    def __init__(self, key: bytes, entry: _Entry) -> None:
        self.client = entry.client
        self.tally = entry.tally
        self.release = weakref.finalize(self, _release, key, entry)


_guard = threading.RLock()  # a collection, and with it a release, may strike while this thread holds it
_entries: dict[bytes, _Entry] = {}


def lease(config: HecConfig) -> Lease:
    """The process's client for these settings, made if there is none.

    Raises:
        ConfigError: A setting is wrong, or the token's reference leads nowhere in this process.
    """
    key = msgspec.json.encode(msgspec.structs.asdict(config))
    with _guard:
        entry = _entries.pop(key, None)
        if entry is None:
            tally = Tally()
            entry = _Entry(HecClient(config, observer=tally), tally)
        _entries[key] = entry  # the last in order: the one used most recently
        entry.leases += 1
        return Lease(key, entry)


def _release(key: bytes, entry: _Entry) -> None:
    with _guard:
        entry.leases -= 1
        if _entries.get(key) is not entry:
            return
        idle = [one for one, other in _entries.items() if not other.leases]
        ended = [_entries.pop(one) for one in idle[:-MAX_IDLE]]
    for one in ended:
        one.client.abort()


def _forget() -> None:
    """In a forked child: its copies of the parent's clients cannot work."""
    global _guard  # noqa: PLW0603 -- the parent's may be held by a thread that the child does not have
    _guard = threading.RLock()
    _entries.clear()


os.register_at_fork(after_in_child=_forget)
