"""What is wrong with a configuration file, and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

# The way to a value: keys and indexes from 0, e.g. ("devices", 0, "owner").
Path: TypeAlias = tuple[str | int, ...]

_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_SHOWN: Final = 60
_LONGEST_PATH: Final = 40
_BEGINNING: Final = 3
"""Of how many characters the beginning of a name may stand for it."""
# What a push token looks like, should one stand where a name is due.
_TOKEN: Final = re.compile(r"[0-9A-Fa-f]{32,}")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong or doubtful, and where. Lines and columns count from 1.

    `path` is the way to the value (`devices[0].owner`), "" where there is none, as in broken YAML.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return self._line("")

    def as_warning(self) -> str:
        """Write it as compilers write a warning."""
        return self._line("warning: ")

    def _line(self, kind: str) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {kind}{path}{self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` are all that were found, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def render(path: Path) -> str:
    """Write a path as people read it.

    A key that does not look like one is not shown: where a colon is missing or misplaced, a secret
    becomes a key.
    """
    if len(path) > _LONGEST_PATH:
        return f"{render(path[:8])}…{render(path[-4:])}"
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if _KEY.fullmatch(part) else "…")
    return text


def quote(text: str) -> str:
    """Show a value that is no secret: on one line, printable, and not endless."""
    text = _TOKEN.sub("…", text)
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown) + '"'


def suggest(word: str, known: Iterable[str]) -> str:
    """Give `, did you mean "x"?` for the nearest of `known`, or the first that begins so, or nothing."""
    folded = {name.casefold(): name for name in known}
    short = word[:200].casefold()
    near = difflib.get_close_matches(short, folded, n=1, cutoff=0.6)
    if not near and len(short) >= _BEGINNING:
        near = [name for name in folded if name.startswith(short)]
    return f", did you mean {quote(folded[near[0]])}?" if near else ""
