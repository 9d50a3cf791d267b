"""The emulator as a process: from options to a server on this thread, until a signal ends it."""

import asyncio
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import msgspec

from splunk_hec_emulator._store import JournalError
from splunk_hec_emulator.server import Server
from splunk_hec_emulator.settings import Settings, SettingsError


def run(options: Mapping[str, Any], extra: Iterable[str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        options: fields of `Settings`; empty values mean the default.
        extra: further fields as ``NAME=VALUE``, the value in JSON or as plain text.

    Returns:
        The exit code: 0 after a signal, 2 if an option is wrong, 1 if the journal cannot be written any more
        (one line on stderr says why).
    """
    given = {name: value for name, value in options.items() if value not in ((), None, "")}
    try:
        settings = Settings.of(**given, **dict(map(_pair, extra)))
        asyncio.run(_serve(settings))
    except SettingsError as error:
        print(f"hec-emulator: {error}", file=sys.stderr)  # noqa: T201 - it is the command's answer
        return 2
    except JournalError as error:
        print(f"hec-emulator: {error}", file=sys.stderr)  # noqa: T201 - it is the command's answer
        return 1
    return 0


def _pair(text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE``; lists in JSON become what the settings hold."""
    name, is_pair, value = text.partition("=")
    if not is_pair or name not in {item.name for item in fields(Settings)}:
        raise SettingsError(f"--set: {text!r} is not NAME=VALUE with a name from EMULATOR.md")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


async def _serve(settings: Settings) -> None:
    server = Server(settings)
    await server.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    print(f"listening on {server.url}", flush=True)  # noqa: T201 - it is the command's answer
    await server.run(ended)
