"""Seeded bugs in settled maps: ways to skip what was never settled, to forget what was, or to get stuck.

See `mutants`.
"""

from __future__ import annotations

from sim_planting import Mutant, of

from splunk_hec_kafka import commit_maps, commits, delivery, offsets, settled_map

_MAPS, _COMMITS, _OPEN = commit_maps.CommitMaps, commits.Commits, offsets._Open

MAPS: dict[str, Mutant] = {
    "map_of_another_cluster": of(
        "a map is used whatever cluster it was written for",
        (_MAPS, "_why_not", "if given.cluster != identity.cluster:", "if False:"),
    ),
    "map_of_another_topic": of(
        "a map is used whatever topic of this name it was written for",
        (_MAPS, "_why_not", "if given.topic_id != identity.topic_id:", "if False:"),
    ),
    "map_of_another_base": of(
        "a map is used beside whatever offset it is found",
        (_MAPS, "_why_not", "if given.base != start:", "if False:"),
    ),
    "map_of_another_leader": of(
        "a record in a run is skipped whatever leader it was written under",
        (settled_map.SettledMap, "within", "if run.leader_epoch == leader_epoch:", "if True:"),
    ),
    "map_not_confirmed": of(
        "nobody asks after reading whether the topic is still the same",
        (_MAPS, "split", "if found:", "if False:"),
    ),
    "map_labelled_late": of(
        "a map carries the id that its topic has when it is written",
        (
            _MAPS,
            "_text",
            "if identity is None or at in self._too_large:",
            (
                "identity = self._asked.now([at.topic]).get(at.topic, identity)\n"
                "    if identity is None or at in self._too_large:"
            ),
        ),
    ),
    "map_claims_open": of(
        "a map counts the record before each settled run in",
        (_OPEN, "settled_runs", "at = low + 1", "at = low"),
    ),
    "map_claims_unread": of(
        "a map counts the next record in, which nobody has read",
        (
            _OPEN,
            "settled_runs",
            "ends = [*self.firsts[1:], self.seen]",
            "ends = [*self.firsts[1:], self.seen + 1]",
        ),
    ),
    "map_never_written": of(
        "no map is committed",
        (_MAPS, "_text", "if identity is None or at in self._too_large:", "if True:"),
    ),
    "map_never_used": of(
        "no map is believed",
        (_MAPS, "begin", "self._given[at] = given", "pass"),
    ),
    "map_rest_forgotten": of(
        "a commit forgets what the map before it tells of offsets that were not read again yet",
        (_MAPS, "_text", "runs += rest", "pass"),
    ),
    "map_leader_change_missed": of(
        "all records of an assignment count as written under its first leader",
        (
            _OPEN,
            "led_by",
            "if not self.leaders or self.leaders[-1][1] != leader_epoch:",
            "if not self.leaders:",
        ),
    ),
    "map_too_large_again": of(
        "a map that the broker refused is committed again",
        (_COMMITS, "_refuse_maps", "return ", "return False and "),
    ),
    "skipped_not_settled": of(
        "a record that is skipped stays open",
        (delivery.Delivery, "skip_settled", "self._skip(messages, self._ledger.epochs)", "pass"),
    ),
    "skipped_and_sent": of(
        "a record that is skipped is sent all the same",
        (_MAPS, "_divided", "rest += messages[index:start]", "rest += messages[index:stop]"),
        (delivery.Delivery, "skip_settled", "self._skip(messages, self._ledger.epochs)", "pass"),
    ),
    "neighbour_skipped": of(
        "a skip takes one record too many",
        (_MAPS, "split", "index + high - first + 1)", "index + high - first + 2)"),
    ),
}
"""In settled maps."""
