"""The files of the page, from the package, and the headers that keep the page to itself.

The policy allows scripts and styles from these files alone, and no text can become markup (trusted types):
whatever an event holds, it stays text.
"""

import functools
from importlib import resources

from splunk_hec_emulator._replies import HTML_TYPE, NOT_FOUND, Reply

_TYPES = {
    ".html": HTML_TYPE,
    ".css": "text/css; charset=UTF-8",
    ".js": "text/javascript; charset=UTF-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)


def asset(name: str) -> Reply:
    """Return a file of the page by its name, with a folder's name before it where it is in one."""
    found = _files().get(name)
    return NOT_FOUND if found is None else Reply(200, found[1], content_type=found[0], headers=_HEADERS)


@functools.cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Read all files once: what is asked for can only be one of these."""
    files: dict[str, tuple[str, bytes]] = {}
    folders = [("", resources.files("splunk_hec_emulator") / "page")]
    for prefix, folder in folders:
        for entry in folder.iterdir():
            kind = _TYPES.get("." + entry.name.rpartition(".")[2])
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif kind:
                files[prefix + entry.name] = kind, entry.read_bytes()
    return files
