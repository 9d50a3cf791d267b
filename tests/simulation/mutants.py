"""Seeded bugs, each a way in which data was lost, repeated without a word, or stuck, here or in another sink.

The simulation must catch every one of them. Here are those that other sinks really had, and the list of all;
`mutants_in_client` and `mutants_in_sink` hold those that a reading of the code suggests. Not for the checks
that catch them (`sim_checker`).
"""

from __future__ import annotations

from mutants_in_client import CLIENT
from mutants_in_maps import MAPS
from mutants_in_sink import SINK
from sim_planting import Mutant, of

from splunk_hec import _asking, _lane, _protocol, _queue, _splits
from splunk_hec_kafka import dead_letters, offsets

_OPEN, _LEDGER, _ASKING = offsets._Open, offsets.OffsetLedger, _asking.Asking
_LANE, _SPLITS = _lane.Lane, _splits.Splits

FROM_THE_BOOK: dict[str, Mutant] = {
    "commit_highest_delivered": of(
        "the highest settled offset is committed, whatever is open below",
        (_OPEN, "settle", "expected = self", "self.high = last + 1\n    expected = self"),
        (_OPEN, "committable", "return self", "return getattr(self, 'high', None) or self"),
    ),
    "ack_error_is_true": of(
        "an error from /ack counts as true",
        (_ASKING, "on_acks", "return answer.halt", "self._told(asked, frozenset(poll.ids), now)"),
    ),
    "ack_timeout_is_done": of(
        "no acknowledgement in time counts as delivered",
        (
            _ASKING,
            "_expire",
            "if not self._lane.settings.resend_on_ack_timeout:",
            "if True:\n        self._lane.work.settle(batch, OutcomeKind.DELIVERED); return\n    if False:",
        ),
    ),
    "letter_report_unchecked": of(
        "any report of a dead letter counts as written",
        (dead_letters.DeadLetters, "_on_report", "if error is None", "error = None\n    if error is None"),
    ),
    "empty_200_is_success": of(
        "a 200 that proves nothing counts as delivered",
        (
            _LANE,
            "_act_on",
            "case protocol.Unknown():",
            (
                "case protocol.Unknown(is_strange=True):\n"
                "            self.work.settle(batch, OutcomeKind.DELIVERED)\n        case protocol.Unknown():"
            ),
        ),
    ),
    "ack_id_without_channel": of(
        "an id is looked up on all channels",
        (
            _ASKING,
            "on_acks",
            "[poll.channel.asked[ack_id] for ack_id in poll.ids if ack_id in poll.channel.asked]",
            "[c.asked[i] for c in self._lane.channels for i in poll.ids if i in c.asked]",
        ),
    ),
    "code_7_from_zero": of(
        "the number of a refused index is taken to count from 0",
        (_SPLITS, "_position", "number -= 1", "pass"),
        (_SPLITS, "_cut_out", "if answer.code == protocol.INCORRECT_INDEX and answer.number:", "if False:"),
    ),
    "prefix_resent": of(
        "what a 400 took is sent again although its id was told",
        (_SPLITS, "_prefix", "if answer.ack_id is not None or not self._lane.acks:", "if False:"),
    ),
    "late_ack_committed": of(
        "a revoked partition stays in the ledger, and late acknowledgements move it",
        (_LEDGER, "revoke", "self._open.pop(at, None)", "pass"),
    ),
    "budget_kept_on_reject": of(
        "the budget of rejected events is not released",
        (
            _queue.BatchQueue,
            "settle",
            "freed_bytes += item.batch.charge_bytes",
            (
                "if item.kind is not OutcomeKind.DELIVERED: item.batch.charge_bytes = 0\n"
                "            freed_bytes += item.batch.charge_bytes"
            ),
        ),
    ),
    "id_from_gap": of(
        "a lost reply is taken to have told the next id",
        (
            _LANE,
            "_act_on",
            'self.work.resend([batch], "unknown_reply")\n            self.endpoint.unknown',
            "self._guess(batch, channel, now)\n            self.endpoint.unknown",
        ),
        (
            _LANE,
            "after_unknown",
            "def after_unknown(self",
            (
                "def _guess(self, batch, channel, now):\n"
                "    guess = Attempt(batch, channel, (channel.last or 0) + 1, now, 20.0)\n"
                "    batch.live.append(guess)\n    channel.ask(guess)\n"
                "    self.channels._all.append(channel)\n"
                "Lane._guess = _guess\ndef after_unknown(self"
            ),
        ),
    ),
    "asked_after_reset": of(
        "ids stay asked although the numbering fell back",
        (_LANE, "_reset", 'self.work.resend_attempts(channel.die(), "channel_reset")', "pass"),
        (_LANE, "_reset", "self.channels.drop(", "self.channels.retire("),
    ),
    "html_503_is_a_refusal": of(
        "a proxy's 503 counts as not taken",
        (_protocol, "judge", 'if answer.is_splunk else Unknown(f"HTTP {status}")', "if True else None"),
    ),
    "unused_id_not_compared": of(
        "only the ids of accepted batches are compared with the last",
        (
            _LANE,
            "on_post",
            "not channel.note_reply(answer.ack_id, now)",
            "not channel.note_reply(answer.ack_id if answer.status == 200 else None, now)",
        ),
    ),
    "expired_not_asked": of(
        "an overdue id is not asked any more",
        (
            _ASKING,
            "_expire",
            "attempt.is_expired, attempt.expired_at = True, now",
            "attempt.is_expired, attempt.expired_at = True, now; _end(attempt)",
        ),
    ),
    "draining_evicted": of(
        "a channel that still confirms is given up for a fresh one",
        (
            _LANE,
            "next",
            "if self.acks and self.channels.are_full",
            (
                "for old in [c for c in self.channels if c.state.value == 'draining'][:-1]:\n"
                "        self.work.resend_attempts(old.die(), 'ack_timeout')\n"
                "        self.channels.drop(old, 'full')\n"
                "    if self.acks and self.channels.are_full"
            ),
        ),
    ),
    "prefix_settles_all": of(
        "the id of a prefix settles what was never read",
        (
            _SPLITS,
            "_cut_out",
            'self._work.resend(rest, "split")',
            "[self._work.settle(one, OutcomeKind.DELIVERED) for one in rest]",
        ),
    ),
    "letter_keeps_timestamp": of(
        "a dead letter is written with the original's time, and retention deletes it",
        (
            dead_letters.DeadLetters,
            "_enqueue",
            "on_delivery=report)",
            "on_delivery=report, timestamp=message.timestamp()[1])",
        ),
    ),
}
"""Those of the reliability notes; all real somewhere."""

MUTANTS: dict[str, Mutant] = FROM_THE_BOOK | CLIENT | SINK | MAPS
