"""Faults on purpose: rules that say what goes wrong, for which requests and how often.

A rule is text, ``NAME[:ARG][,on=event|raw|ack|all][,p=0.05][,count=N][,after_s=S][,for_s=S][,node=N]``.
The first rule that strikes decides; time counts from the moment the rules were set, chance is seeded.
"""

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from splunk_hec_emulator.settings import SettingsError

_Number = TypeVar("_Number", int, float)
_POSTS = frozenset({"event", "raw"})
_ALL = frozenset({"event", "raw", "ack", "health"})
_SCOPES = {"event": frozenset({"event"}), "raw": frozenset({"raw"}), "ack": frozenset({"ack"}), "all": _ALL}

# Name: the routes it strikes where `on` is not given, what its ARG is ("" none), and what it does.
CATALOGUE: dict[str, tuple[frozenset[str], str, str]] = {
    "busy": (
        _POSTS,
        "[INDEX]",
        "503 code 9; with INDEX, objects 0 to INDEX-1 are taken and it is the number told",
    ),
    "throttle": (
        _POSTS,
        "[RETRY_AFTER][/INDEX]",
        "429 code 26; RETRY_AFTER is seconds or date+SECONDS, INDEX as for busy",
    ),
    "error500": (_POSTS, "[taken]", "500 code 8; nothing is taken, or all of it"),
    "near-capacity": (_POSTS, "", "accepted, but with code 24"),
    "queue-full": (
        _POSTS | {"health"},
        "",
        "posts are refused with 26 (9 on older profiles), health says 18",
    ),
    "acks-down": (frozenset({"ack", "health"}), "", "/ack answers 503 code 9, health?ack=true says 19"),
    "shutting-down": (_ALL, "", "503 code 23"),
    "reset-before": (_POSTS, "", "a TCP reset after the request's headers; nothing is taken"),
    "reset-after": (_POSTS, "", "the request is served, then a TCP reset instead of the reply"),
    "cut-status": (_POSTS, "", "served, but the reply ends inside its status line"),
    "cut-headers": (_POSTS, "", "served, but the reply ends inside its headers"),
    "cut-body": (_POSTS, "", "served, but the reply ends inside its body"),
    "empty200": (_POSTS, "", "200 with no body; nothing is taken"),
    "html200": (_POSTS, "", "200 with a login page; nothing is taken"),
    "html503": (_POSTS, "", "a proxy's 503 page; nothing is taken"),
    "status": (_POSTS, "CODE", "any status with an HTML page; nothing is taken"),
    "drip": (_POSTS, "[SECONDS]", "served, and the reply comes a byte every 0.15 s"),
    "hang": (_POSTS, "[SECONDS]", "the request is read, never served, never answered; closed after SECONDS"),
    "ack-never": (_POSTS, "", "accepted and indexed, but its ack never comes true"),
    "lose-after-200": (_POSTS, "", "accepted, then lost: never indexed, its ack never true"),
    "ack-error": (frozenset({"ack"}), "STATUS", "/ack answers this status"),
    "ack-lost": (frozenset({"ack"}), "", "the poll is served, its reply is lost by a TCP reset"),
    "restart": (_POSTS, "[reset]", "the node restarts, then serves the request; reset: resets it instead"),
}


@dataclass(slots=True)
class Rule:
    """One rule and how often it has struck."""

    text: str
    name: str
    argument: str
    kinds: frozenset[str]
    p: float = 1.0
    count: int | None = None
    after_s: float = 0.0
    for_s: float | None = None
    node: int | None = None
    fired: int = field(default=0, compare=False)

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Read a rule.

        Raises:
            SettingsError: its name, argument or an option is wrong; the message says what is known.
        """
        head, *options = text.strip().split(",")
        name, _, argument = head.partition(":")
        if name not in CATALOGUE:
            raise SettingsError(f"--fault: unknown fault {name!r}; known: {', '.join(CATALOGUE)}")
        rule = cls(text.strip(), name, argument, CATALOGUE[name][0])
        try:
            rule.judge_argument()
            for option in options:
                rule.set_option(*option.split("="))
        except (ValueError, TypeError, KeyError):
            shape = f"NAME:{CATALOGUE[name][1]}" if CATALOGUE[name][1] else "NAME"
            raise SettingsError(
                f"--fault: {text!r} is not {shape.replace('NAME', name)}"
                "[,on=event|raw|ack|all][,p=0.05][,count=N][,after_s=S][,for_s=S][,node=N]"
            ) from None
        return rule

    def judge_argument(self) -> None:
        """Raise ValueError unless the argument has the shape this fault takes."""
        match self.name, self.argument:
            case (("status" | "ack-error"), text):
                if not 200 <= int(text) <= 599:
                    raise ValueError(text)
            case _, "":
                pass
            case "busy", text:
                _number(int(text))
            case "throttle", text:
                after, _, index = text.partition("/")
                _number(float(after.removeprefix("date+") or 0))
                _number(int(index or 0))
            case (("drip" | "hang"), text):
                _number(float(text))
            case ("error500", "taken") | ("restart", "reset"):
                pass
            case _, text:
                raise ValueError(text)

    def set_option(self, key: str, value: str) -> None:
        """Apply one ``key=value``; raises ValueError or KeyError for what it is not."""
        match key:
            case "on":
                self.kinds = _SCOPES[value]
            case "p":
                self.p = _number(float(value), most=1)
            case "count" | "node":
                setattr(self, key, _number(int(value)))
            case "after_s" | "for_s":
                setattr(self, key, _number(float(value)))
            case _:
                raise KeyError(key)

    @property
    def index(self) -> int | None:
        """The object number at which `busy` and `throttle` say the queue was full; None: they name none."""
        text = self.argument if self.name == "busy" else self.argument.partition("/")[2]
        return int(text) if text else None

    def strikes(self, kind: str, node: int, age_s: float, rng: random.Random) -> bool:
        """Decide whether this request is struck; counts it if so."""
        if kind not in self.kinds or self.node not in (None, node) or self.fired == self.count:
            return False
        if age_s < self.after_s or (self.for_s is not None and age_s >= self.after_s + self.for_s):
            return False
        if self.p < 1 and rng.random() >= self.p:
            return False
        self.fired += 1
        return True


def _number(value: _Number, most: float = math.inf) -> _Number:
    """Return a number from 0 to `most`; raises ValueError for another."""
    if not 0 <= value <= most:
        raise ValueError(value)
    return value


class Faults:
    """The rules in force. Touched by the server's loop only."""

    def __init__(self, rules: Iterable[str], seed: int, now: float) -> None:
        self._rng = random.Random(f"{seed}/faults")  # noqa: S311 - reproducible, not secret
        self.fired: dict[str, int] = {}
        self.rules: list[Rule] = []
        self.set(rules, now)

    def set(self, rules: Iterable[str | Mapping[str, Any]], now: float) -> None:
        """Replace all rules; their clocks and counts start anew.

        Args:
            rules: as text, or as `describe` returns them.
            now: monotonic seconds.

        Raises:
            SettingsError: one of them is wrong; the old rules stay.
        """
        texts = [rule.get("rule") if isinstance(rule, Mapping) else rule for rule in rules]
        self.rules = [Rule.parse(str(text)) for text in texts]
        self._since = now

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules with how often each has struck."""
        return [{"rule": rule.text, "fired": rule.fired} for rule in self.rules]

    def strike(self, kind: str, node: int, now: float) -> Rule | None:
        """Return the rule that strikes a request of this kind at this node, if one does."""
        return next(self.strikes(kind, node, now), None)

    def strikes(self, kind: str, node: int, now: float) -> Iterator[Rule]:
        """Yield every rule that strikes a request of this kind at this node; only what is taken counts."""
        for rule in self.rules:
            if rule.strikes(kind, node, now - self._since, self._rng):
                self.fired[rule.name] = self.fired.get(rule.name, 0) + 1
                yield rule
