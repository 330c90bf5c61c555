"""Texts from anywhere as one line that a phone can show: short, in whole characters, nothing hidden. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from unicodedata import category

NAME: Final = 64
"""The most that one name may take, in bytes of UTF-8."""
NAMELESS: Final = "alert without a name"

_SPACES: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
# What shows nothing and can turn a line around or hide in it: bidi controls and isolates, the
# invisible operators, byte-order and annotation marks, surrogates. Not the joiners U+200C and U+200D:
# Persian, Indic scripts and emoji need them.
_HIDDEN: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LOOKED_AT: Final = 4096
"""Of a longer text no more characters are read: a label can have megabytes."""

_JOINER: Final = "\u200d"
_FLAG_LETTERS: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_LONGEST_CLUSTER: Final = 32


def one_line(text: str, limit: int) -> str:
    """Give the text as one line of at most `limit` (4 or more) bytes of UTF-8, with "…" where it was cut.

    Spaces and control characters become one space; what could hide or turn text is left out.
    """
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()  # as nearly all are: nothing is hidden in them
    head = text[:_LOOKED_AT]
    line = _SPACES.sub(" ", _HIDDEN.sub("", head)).strip()
    if len(head) == len(text) and len(line.encode()) <= limit:
        return line
    kept = len(line.encode()[: limit - len("…".encode())].decode(errors="ignore"))
    return line[: _boundary(line, kept)].rstrip() + "…"


def _boundary(line: str, at: int) -> int:
    """Find the nearest place from `at` backwards where no character that is seen as one would break."""
    for place in range(at, max(at - _LONGEST_CLUSTER, 0), -1):
        if place == len(line) or not _joined(line, place):
            return place
    return at


def _joined(line: str, at: int) -> bool:
    before, after = line[at - 1], line[at]
    if _JOINER in (before, after) or category(after).startswith("M"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True  # a skin tone; a tag, as in the flag of Scotland
    start = line[:at]
    return after in _FLAG_LETTERS and (len(start) - len(start.rstrip(_FLAG_LETTERS))) % 2 == 1


def some(names: Iterable[str], most: int, limit: int) -> str:
    """Name the first `most` (distinct) of many, in at most `limit` bytes."""
    seen: dict[str, None] = {}
    for name in names:
        seen.setdefault(name)
        if len(seen) > most:
            break
    lines = [one_line(name, NAME) or NAMELESS for name in islice(seen, most)]
    return one_line(", ".join([*lines, "…"] if len(seen) > most else lines), limit)


def number(count: int, noun: str) -> str:
    """Count things: 1 alert, 2 alerts."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def rfc3339(at: datetime) -> str:
    """Write RFC 3339 in UTC, always with milliseconds, so that a phone needs one format alone."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
