"""Plants seeded bugs: edits the source text of real functions at run time, and undoes it.

Text that is not there (any more) is an error, so that no mutant can become harmless in silence.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Edit(NamedTuple):
    """Replace `old` by `new` in the source of `name` of a class or module."""

    owner: Any
    name: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A seeded bug: what it is, and the edits that make it."""

    text: str
    edits: tuple[Edit, ...]


class Missing(AssertionError):  # noqa: N818 -- what is said of the text
    """What a mutant would change is not there."""


def of(text: str, *edits: tuple[Any, str, str, str]) -> Mutant:
    """A mutant of edits."""
    return Mutant(text, tuple(Edit(*edit) for edit in edits))


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Change the real code as the mutant says, for the block.

    Raises:
        Missing: The text that it would change is not there, or not once.
    """
    undo: list[tuple[Any, str, Any]] = []
    try:
        sources: dict[tuple[Any, str], str] = {}
        for edit in mutant.edits:
            key = (edit.owner, edit.name)
            if key not in sources:
                sources[key] = _source(mutant, *key)
            found = sources[key].count(edit.old)
            if found != 1:
                raise Missing(f"{mutant.text}: {edit.old!r} is {found} times in {edit.name}")
            sources[key] = sources[key].replace(edit.old, edit.new)
        for (owner, name), text in sources.items():
            undo.append((owner, name, vars(owner)[name]))
            setattr(owner, name, _compiled(vars(owner)[name], name, text))
        yield
    finally:
        for owner, name, original in undo:
            setattr(owner, name, original)


def _source(mutant: Mutant, owner: Any, name: str) -> str:
    found = vars(owner).get(name)
    if found is None:
        raise Missing(f"{mutant.text}: {owner.__name__} has no {name}")
    return textwrap.dedent(inspect.getsource(_function(found)))


def _function(found: Any) -> Any:
    return found.fget if isinstance(found, property) else found


def _compiled(original: Any, name: str, text: str) -> Any:
    code = compile(text, f"<mutant of {name}>", "exec", flags=__future__.annotations.compiler_flag)
    made: dict[str, Any] = {}
    exec(code, _function(original).__globals__, made)
    return made[name]
