"""Who holds events while the interpreter ends, or is forked. Not for what they do then: that is theirs."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

_known: weakref.WeakSet[Holder] = weakref.WeakSet()
at_risk: set[Holder] = set()
"""Those with events that are not settled: kept from collection, and flushed at exit."""


class Holder(Protocol):
    """Holds events for a while."""

    def finish_at_exit(self) -> None:
        """The interpreter ends: settle what can be settled soon."""
        ...

    def forget_parent(self) -> None:
        """This is a forked child: what is held is the parent's, and its locks may be held for ever."""
        ...


def know(holder: Holder) -> None:
    """Tell it of forks from now on."""
    _known.add(holder)


@atexit.register
def _finish_all() -> None:
    for one in list(at_risk):
        one.finish_at_exit()


def _forget_parents() -> None:
    at_risk.clear()
    for one in list(_known):
        one.forget_parent()


os.register_at_fork(after_in_child=_forget_parents)
