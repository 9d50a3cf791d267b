"""Faults of Splunk and of the way there: dead and silent servers, tokens, indexes, the proxy's weather.

Not for wrong replies: those are the servers' own rules, which `with_rule` turns on. Each function breaks
something, waits, and mends it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from e2e_tools import rest

from .members import SIDE_INDEX
from .world import INDEXES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from .world import World

    Run = Callable[[World, random.Random, float], None]


def hec_kill(world: World, _: random.Random, seconds: float) -> None:
    """The HEC server dies: connections are refused, and what it had taken is gone."""
    world.sticky.kill()
    rest(seconds)
    world.sticky.start()


def hec_stall(world: World, _: random.Random, seconds: float) -> None:
    """The HEC server reads nothing and answers nothing."""
    world.sticky.suspend(is_on=True)
    rest(seconds)
    world.sticky.suspend(is_on=False)


def node_restart(world: World, chance: random.Random, _: float) -> None:
    """Both nodes restart one after the other: their ids start again."""
    for node in (0, 1):
        world.sticky.post(f"/emulator/restart?node={node}")
        rest(chance.uniform(0.5, 2))


def token_revoked(world: World, _: random.Random, seconds: float) -> None:
    """The token is disabled, then restored."""
    world.sticky.restart_with(f":ack:index={INDEXES}:disabled")
    rest(seconds * 1.5)
    world.sticky.restart_with(f":ack:index={INDEXES}")


def index_missing(world: World, _: random.Random, seconds: float) -> None:
    """An index that the configuration names is gone, then restored."""
    world.sticky.restart_with(f":ack:index={SIDE_INDEX}")
    rest(seconds * 1.5)
    world.sticky.restart_with(f":ack:index={INDEXES}")


def wrong_node(world: World, _: random.Random, seconds: float) -> None:
    """All connections break and lead to servers that know nothing, request by request another one."""
    _weather(world, "astray", 1.0, lambda: rest(seconds))


def resets(world: World, chance: random.Random, seconds: float) -> None:
    """All connections are reset, again and again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _break_all(world)
        rest(chance.uniform(0.3, 2))


def _weather(world: World, name: str, value: float, during: Callable[[], None]) -> None:
    proxies = world.proxies.proxies
    for proxy in proxies:
        proxy.weather[name] = value
    if name == "astray":
        _break_all(world)
    during()
    for proxy in proxies:
        proxy.weather.pop(name, None)
    if name == "astray":
        _break_all(world)


def _break_all(world: World) -> None:
    for proxy in world.proxies.proxies:
        world.proxies.call(proxy.break_all)


def with_weather(name: str, value: float) -> Run:
    """A fault that is weather of all proxies for a while."""
    return lambda world, _, seconds: _weather(world, name, value, lambda: rest(seconds))


def with_rule(rule: str) -> Run:
    """A fault that is a rule of all servers for a while."""

    def run(world: World, _: random.Random, seconds: float) -> None:
        with ExitStack() as stack:
            for server in world.servers:
                stack.enter_context(server.rule(rule))
            rest(seconds)

    return run
