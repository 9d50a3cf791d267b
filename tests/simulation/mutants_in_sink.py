"""Seeded bugs of the Kafka sink. See `mutants`."""

from __future__ import annotations

from sim_planting import Mutant, of

from splunk_hec_kafka import commits, dead_letters, delivery, enquiries, offsets, sink, source

_OPEN, _LEDGER = offsets._Open, offsets.OffsetLedger
_DELIVERY, _SOURCE = delivery.Delivery, source.KafkaSource

SINK: dict[str, Mutant] = {
    "commit_past_open": of(
        "whatever was read is committed",
        (_OPEN, "committable", "return self.firsts[0] if self.firsts else self.seen", "return self.seen"),
    ),
    "end_noted_first": of(
        "the end of a partition is noted before the records that came with it",
        (
            _SOURCE,
            "consume",
            "self._ledger.open(records, self._clock())",
            (
                "[self._on_event(m, m.error()) for m in messages if m.error() is not None]\n"
                "    self._ledger.open(records, self._clock())"
            ),
        ),
    ),
    "end_past_open_noted_late": of(
        "the end offset is committed although records below it are open",
        (
            _LEDGER,
            "reached_end",
            "one.seen = offset",
            "one.seen = offset; one.firsts.clear(); one.lasts.clear()",
        ),
    ),
    "epoch_not_raised": of(
        "a partition that comes back is the same assignment",
        (_LEDGER, "assign", "self._last_epoch += 1", "self._last_epoch = 1"),
    ),
    "lost_partition_kept": of(
        "a lost partition stays in the ledger, and is committed",
        (
            _SOURCE,
            "_lost",
            "self._gone(consumer, partitions, going)",
            "(consumer.incremental_unassign(partitions) if self._is_incremental else consumer.unassign())",
        ),
    ),
    "pause_not_applied_again": of(
        "a partition that was paused when it went stays paused when it comes back",
        (_SOURCE, "_assigned", "self._apply_pause(partitions)", "pass"),
    ),
    "letter_settled_early": of(
        "a dead letter settles its record before it is reported written",
        (
            _DELIVERY,
            "_write_letters",
            "self._letters.popleft()",
            "self._ledger.settle(self._letters.popleft().run)",
        ),
        (_DELIVERY, "_settle_letters", "elif self._ledger.settle(letter.run):", "else:"),
    ),
    "letter_dropped_when_full": of(
        "a dead letter that finds the queue full is forgotten",
        (_DELIVERY, "_write_letters", "return False", "self._letters.popleft(); return True"),
    ),
    "letter_budget_kept": of(
        "a written dead letter keeps its share of the budget",
        (_DELIVERY, "_settle_letters", "self.budget.release(letter.charge_bytes, 1)", "pass"),
    ),
    "letter_without_headers": of(
        "a dead letter loses the original's headers",
        (dead_letters, "dead_letter_record", "in headers_of(message) if name", "in () if name"),
    ),
    "letter_without_key": of(
        "a dead letter loses its key",
        (dead_letters, "dead_letter_record", "return message.key(),", "return None,"),
    ),
    "letter_not_again": of(
        "a dead letter that failed for a while is not written again",
        (dead_letters.DeadLetters, "_on_report", "self._again.append((message, cause))", "pass"),
    ),
    "tombstone_open": of(
        "a record without a value stays open",
        (_DELIVERY, "_skip", "self._ledger.settle(Run(at, epochs[at], first, last))", "pass"),
    ),
    "waiting_skips_one": of(
        "one record is dropped where the budget cuts a chunk",
        (
            _DELIVERY,
            "_submit",
            "waiting[0] = one.part(taken, len(one.lines))",
            (
                "waiting.popleft()\n"
                "            if taken + 1 < len(one.lines):\n"
                "                waiting.appendleft(one.part(taken + 1, len(one.lines)))"
            ),
        ),
    ),
    "gathered_before_rebalance": of(
        "records that one call gathered before a rebalance count for the assignment after it",
        (_SOURCE, "consume", "if gone else gathered", "if False else gathered"),
    ),
    "not_read_again": of(
        "a partition that went and came back within one call is not read again",
        (_SOURCE, "consume", "self._read_again(gone)", "pass"),
    ),
    "commit_report_awaited_for_ever": of(
        "a commit whose report is lost is the last one",
        (commits.Commits, "begin", "(REPORT_S if", "(1e9 if"),
    ),
    "commits_rarely": of(
        "what is settled is committed every ten seconds only",
        (sink.Sink, "turn", "self._config.kafka.commit_interval_s / 2", "10.0"),
    ),
    "older_commit_not_awaited": of(
        "a revoke commits while an older commit may still be repeated",
        (commits.Commits, "carry_out", "if due and self._is_pending:", "if False:"),
    ),
    "never_at_the_end": of(
        "a sink that is to run to the end waits for what was written after it began",
        (sink.Sink, "_is_at_end", "committed.get(at, -1) >= end", "committed.get(at, -1) > end"),
    ),
    "commit_failure_is_success": of(
        "a commit that failed is believed",
        (commits.Commits, "on_report", "if error is not None:", "if False:"),
    ),
    "never_commits": of(
        "only rebalances commit",
        (commits.Commits, "begin", "if not offsets:", "if True:"),
    ),
    "retention_untold": of(
        "what retention deleted unread is skipped in silence",
        (_SOURCE, "_out_of_range", "self._on_lost_range(at, position, low)", "pass"),
    ),
    "retention_to_the_end": of(
        "after retention reading goes on at the end",
        (
            _SOURCE,
            "_out_of_range",
            "self._ledger.jump(at, low)\n    self._read_from({at: low})",
            "self._ledger.jump(at, high)\n    self._read_from({at: high})",
        ),
    ),
    "starts_at_the_end": of(
        "a partition without a commit is read from its end",
        (enquiries.Enquiries, "starts", "fresh[at] = OFFSET_BEGINNING", "fresh[at] = self.watermarks(at)[1]"),
    ),
    "start_one_late": of(
        "reading starts one record after the commit",
        (enquiries.Enquiries, "starts", "known[at] = position.offset", "known[at] = position.offset + 1"),
    ),
    "exit_0_unsettled": of(
        "an end with open records says that all was done",
        (sink.Sink, "_finish", "if self._is_all_committed or self._has_reached_end:", "if True:"),
    ),
    "gave_up_is_delivered": of(
        "what was given up because we end counts as delivered",
        (
            _DELIVERY,
            "_settle",
            "return 0\n        case _:",
            "return sum(map(self._ledger.settle, records.runs()))\n        case _:",
        ),
        (delivery.Delivery, "close", "stream.abort()", "self.settle()"),
    ),
}
"""In the sink."""
