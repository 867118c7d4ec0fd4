"""Make text from outside safe to show: what hosts, files and libraries say is never passed on as it is.

Whatever ends in a message, report, CSV, log or terminal goes through here first. What is sent back to a host
(an ETag) or written back to its owner (the cells of an upload) does not: it stays as it came, or is left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

LONGEST_QUOTE = 120
"""Characters of one quoted thing: the words of a host, a file name, a cell."""

LONGEST_MESSAGE = 600
"""Characters of a whole message about one failure."""

# In ASCII, so that a message fits every code page that a CSV may be in.
_UNPRINTABLE = "?"
_ELLIPSIS = "..."
_LOGIN = re.compile(r"://[^\s/?#\"'<>]+@")
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object, limit: int = LONGEST_QUOTE) -> str:
    """Return one line of at most `limit` characters that every terminal, report and CSV takes.

    White space of any kind becomes single blanks. A run of control characters (ESC and NUL too), marks that
    change the direction of writing, or half surrogates becomes one question mark. A text that is too long
    ends with three dots. Of an endless text, only a few times the limit is read.
    """
    start = str(text)[: 4 * limit + 1]
    if not start.isprintable():
        start = "".join(map(_shown, itertools.groupby(start, key=_kind)))
    line = " ".join(start.split())
    return line if len(line) <= limit else line[: max(0, limit - len(_ELLIPSIS))] + _ELLIPSIS[:limit]


def without_password(text: str) -> str:
    """Return the text without what stands before the host of a URL in it: a name and a password."""
    return _LOGIN.sub("://***@", text)


def no_formula(cell: str) -> str:
    """Return a cell that a spreadsheet takes for text: what would begin a formula gets an apostrophe in
    front.
    """
    return f"'{cell}" if cell.lstrip(" ").startswith(_BEGINS_FORMULA) else cell


def _kind(character: str) -> str:
    if character.isprintable():
        return "shown"
    return " " if character.isspace() else _UNPRINTABLE


def _shown(run: tuple[str, Iterator[str]]) -> str:
    kind, characters = run
    return "".join(characters) if kind == "shown" else kind
