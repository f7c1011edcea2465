"""The one error a user meets, and the one way to refuse a value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class AtlasError(Exception):
    """A mistake that the user can mend: one sentence that says what was asked, what was found and what would do."""


@contextmanager
def about(what: str) -> Iterator[None]:
    """Put `what` before a refusal from inside this block: the fact comes from within, the edge says of what it is."""
    try:
        yield
    except AtlasError as reason:
        raise AtlasError(f"{one_line(what)}: {reason}") from None


def one_line(text: object, limit: int = 300) -> str:
    """Return `text` on one line, control characters escaped, cut to `limit` characters: names come from strangers."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def close_matches(value: object, choices: Iterable[object], most: int = 3) -> list[str]:
    """Return the choices nearest to `value` in spelling, parts of dotted names included, best first."""
    names = [str(c) for c in choices]
    found = difflib.get_close_matches(str(value), names, n=most, cutoff=0.5)
    wanted = str(value).lower()
    found += [n for n in names if n not in found and wanted and (wanted in n.lower() or n.lower() in wanted)]
    return found[:most]


def choose(what: str, value: object, choices: Iterable[object]) -> AtlasError:
    """Return the error for a `value` that is none of `choices`, with the closest of them.

    Use as ``raise choose("layer", name, names)``.
    """
    names = [str(c) for c in choices]
    near = close_matches(value, names)
    if near:
        return AtlasError(f"no {what} {one_line(repr(value))}: did you mean {', '.join(map(one_line, near))}?")
    listed = ", ".join(map(one_line, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return AtlasError(f"no {what} {one_line(repr(value))}: there is {listed or 'none'}")
