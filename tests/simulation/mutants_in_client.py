"""Seeded bugs of the client. See `mutants`."""

from __future__ import annotations

from sim_planting import Mutant, of

from splunk_hec import (
    _asking,
    _batching,
    _channel,
    _channels,
    _lane,
    _protocol,
    _queue,
    _splits,
    _work,
    _worker,
)

_ASKING, _LANE, _SPLITS = _asking.Asking, _lane.Lane, _splits.Splits

CLIENT: dict[str, Mutant] = {
    "channel_kept_after_unknown": of(
        "rule 2 left out: posting goes on where a request was lost",
        (_LANE, "after_unknown", 'self.channels.retire(channel, "unknown_reply")', "pass"),
        (_channel.Channel, "retire_after_unknown", "self.retire()", "pass"),
    ),
    "ids_kept_after_unknown": of(
        "rule 3 left out: ids that a restart may have re-issued stay asked",
        (_channel.Channel, "retire_after_unknown", "if self.first is None:", "if True:"),
    ),
    "reset_unnoticed": of(
        "rule 4 left out: an id at or below the last is taken",
        (_channel.Channel, "note_reply", "if self.last is not None and ack_id <= self.last:", "if False:"),
    ),
    "lost_poll_is_true": of(
        "the ids of a poll whose reply was lost count as true",
        (
            _ASKING,
            "on_acks",
            "for attempt in asked:\n                attempt.is_reply_lost = True",
            "self._told(asked, frozenset(poll.ids), now)\n            if False:\n                pass",
        ),
    ),
    "false_is_true": of(
        "an id that is in the answer counts as true",
        (_protocol, "judge_acks", "told.get(str(ack_id)) is True", "str(ack_id) in told"),
    ),
    "expired_without_false": of(
        "a lost answer to a poll expires its ids at once",
        (
            _ASKING,
            "on_acks",
            "attempt.deadline = min(attempt.deadline, now + self.latency.grace_s)",
            "attempt.batch is None or self._expire(attempt, now)",
        ),
    ),
    "halt_rejects": of(
        "a fault of the deployment rejects the events",
        (
            _LANE,
            "_act_on",
            "self.work.requeue([batch])\n            self.endpoint.halt(verdict.reason",
            (
                "self.work.settle(batch, OutcomeKind.REJECTED, 'invalid_event', answer=answer)\n"
                "            self.endpoint.halt(verdict.reason"
            ),
        ),
    ),
    "busy_rejects": of(
        "the event named by a 503 is rejected",
        (
            _SPLITS,
            "busy",
            'self._work.resend([rest], "busy")',
            (
                "one = self._cut(rest, [1])\n"
                "    self._work.settle(one.pop(0), OutcomeKind.REJECTED, 'invalid_event')\n"
                '    self._work.resend(one, "busy")'
            ),
        ),
    ),
    "not_sent_forgotten": of(
        "a batch that never left is forgotten",
        (
            _LANE,
            "_act_on",
            "self.work.requeue([batch])\n            self.endpoint.fail(now, verdict.why)",
            "self.endpoint.fail(now, verdict.why)",
        ),
    ),
    "rest_forgotten": of(
        "what stands behind a bad event is forgotten",
        (_SPLITS, "_cut_out", 'self._work.resend(rest, "split")', "pass"),
    ),
    "resend_untold": of(
        "a batch is sent again without a word",
        (_work.Work, "resend", "self.resends.append((cause, batch))", "pass"),
    ),
    "reset_forgets": of(
        "what was pending on a channel that was reset is not sent again",
        (_LANE, "_reset", 'self.work.resend_attempts(channel.die(), "channel_reset")', "channel.die()"),
    ),
    "settled_twice": of(
        "the copies of a batch settle it once each",
        (_work.Work, "settle", "assert not batch.is_settled, batch", "pass"),
        (_work.Work, "settle", "self.take(batch)\n    self.end_attempts(batch)", "self.take(batch)"),
        (_ASKING, "_confirmed", "elif not attempt.batch.is_settled:", "else:\n        _end(attempt)"),
    ),
    "linger_forgotten": of(
        "a batch that is not full waits for ever",
        (_queue.BatchQueue, "_seal_lingering", "for box in [box for", "for box in [] and [box for"),
    ),
    "surrendered_lost": of(
        "batches handed to another address arrive nowhere",
        (
            _worker.Worker,
            "_hand_over",
            "effects.surrendered and not self._queue.put_back(effects.surrendered):",
            "False:",
        ),
    ),
    "channels_never_full": of(
        "an unsticky balancer gets many batches on one channel",
        (_channels.Channels, "is_unsticky", "return now < self._unsticky_until", "return False"),
        (
            _channel.Channel,
            "note_reply",
            "if self.last is not None and ack_id <= self.last:",
            "if self.last is not None and ack_id < self.last:",
        ),
    ),
    "cut_loses_charge": of(
        "the pieces of a batch hold less of the budget than it did",
        (_batching.Batch, "cut", "charge = charge_left if end == self.count else", "charge ="),
    ),
    "manifest_cut_off_by_one": of(
        "a piece of a batch stands for its neighbours' offsets",
        (
            _batching.Batch,
            "cut",
            "self.manifest[start:end]",
            "self.manifest[start - bool(start) : end - bool(start)]",
        ),
    ),
}
"""In the client."""
