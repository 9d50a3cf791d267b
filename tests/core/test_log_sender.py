"""The sender behind `HecHandler`, where its own thread fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from splunk_hec._log_sender import LINE_BYTES, LogSender
from splunk_hec.config import HecConfig

if TYPE_CHECKING:
    from splunk_hec_emulator import Emulator

BOUND_S = 30.0
GOOD = b'{"event":"good"}'


def test_a_wait_for_room_outlives_the_thread_that_makes_it(hec_emulator: Emulator) -> None:
    """With `block`, a caller that waits while the sender's thread fails starts another, and goes on."""
    is_telling, may_fail = threading.Event(), threading.Event()
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            is_telling.set()
            assert may_fail.wait(BOUND_S)
            raise RuntimeError("the place where it is told is gone")

    room_bytes = 4 * (len(GOOD) + LINE_BYTES)
    hec_emulator.set_tokens("mine:ack:index=main")
    config = HecConfig(url=hec_emulator.url, token="mine", threads=False, linger_s=0.01)
    sender = LogSender(config, 2 * room_bytes, "block", tell)
    sender.add(b'{"index":"nope","event":"bad"}')
    assert is_telling.wait(BOUND_S)
    for _ in range(4):
        sender.add(GOOD)
    waiter = threading.Thread(target=sender.add, args=(GOOD,))
    waiter.start()
    may_fail.set()
    waiter.join(BOUND_S)
    assert not waiter.is_alive()
    assert sender.close(BOUND_S) == 0
    assert "a fault of our own, RuntimeError" in told[1]
    assert len(hec_emulator.events()) == 5
