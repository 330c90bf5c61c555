"""The texts of a configuration file, read as what they mean. Every function raises ValueError in words.

A message may show a value only where it cannot be a secret.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from bridge.alerts import DRILL_SOURCE, INTERNAL_SOURCE, timestamp
from bridge.config.problems import quote

MAX_FILE: Final = 1 << 20
_DURATION: Final = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
_MILLISECONDS: Final = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1000, 1)
# Prometheus keeps durations as nanoseconds in 64 bits.
_LONGEST: Final = (1 << 63) // 1_000_000
_SIZE: Final = re.compile(r"(\d{1,15})\s*(|B|[kK]B|[kK]iB|MB|MiB|GB|GiB)", re.ASCII)
_FACTORS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "kib": 1 << 10,
    "mb": 10**6,
    "mib": 1 << 20,
    "gb": 10**9,
    "gib": 1 << 30,
}
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")
_TEN: Final = re.compile(r"[A-Z0-9]{10}")
_BUNDLE_ID: Final = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_SHORTEST_TOKEN: Final = 64
_LONGEST_TOKEN: Final = 200
_LONGEST_NAME: Final = 200


class Secret:
    """A text that is never shown: `reveal()` is the only way to it.

    No dataclass, so that `dataclasses.asdict` of what holds it does not take it apart.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the secret itself, for the one place that needs it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"


def duration(text: str) -> timedelta:
    """Read a duration as Prometheus writes it: 45s, 1h30m, 30d; units y w d h m s ms, each once, in order."""
    found = _DURATION.fullmatch(text)
    if text == "0":
        return timedelta()
    if not text or found is None:
        hint = f", perhaps {text}s?" if re.fullmatch(r"\d{1,9}", text, re.ASCII) else ""
        raise ValueError(f"{quote(text)} is not a duration; write for instance 45s, 5m, 1h30m or 30d{hint}")
    numbers = [
        (int(number[:20]), factor) for number, factor in zip(found.groups("0"), _MILLISECONDS, strict=True)
    ]
    total = sum(number * factor for number, factor in numbers)
    if total >= _LONGEST or any(len(number) > 20 for number in found.groups("0")):
        raise ValueError(f"{quote(text)} is too long; the longest is 292y")
    return timedelta(milliseconds=total)


def positive_duration(text: str) -> timedelta:
    """Read a duration longer than zero."""
    if value := duration(text):
        return value
    raise ValueError("must be longer than zero")


def span(shortest: str, longest: str) -> Callable[[str], timedelta]:
    """Make a reader of durations from `shortest` to `longest`."""
    low, high = duration(shortest), duration(longest)

    def read(text: str) -> timedelta:
        value = duration(text)
        if low <= value <= high:
            return value
        raise ValueError(f"must be from {shortest} to {longest}, not {quote(text)}")

    return read


def reconcile_every(text: str) -> timedelta:
    """Read how often Alertmanager is asked for its alerts."""
    value = duration(text)
    if timedelta(seconds=1) <= value <= timedelta(hours=1):
        return value
    raise ValueError(f"must be from 1s to 1h, not {quote(text)}")


def day(text: str) -> date:
    """Read a date of this century: 2026-01-31."""
    with suppress(ValueError):
        if re.fullmatch(r"20\d\d-\d\d-\d\d", text, re.ASCII):
            return date.fromisoformat(text)
    raise ValueError(f"{quote(text)} is not a date; write for instance 2026-01-31")


def time_of_day(text: str) -> time:
    """Read what a clock shows: 09:00."""
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text, re.ASCII):
        return time.fromisoformat(text)
    raise ValueError(f"{quote(text)} is not a time of day; write 00:00 to 23:59")


def moment(text: str) -> datetime:
    """Read a date with a time, naive where it has no offset: 2026-01-31 18:00, 2026-01-31T18:00:00+01:00."""
    with suppress(ValueError):
        if re.fullmatch(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", text, re.ASCII):
            return datetime.fromisoformat(text)
    raise ValueError(f"{quote(text)} is not a date with a time; write for instance 2026-01-31 18:00")


def any_moment(text: str) -> datetime:
    """Read what `moment` does, or RFC 3339 with fractions of a second."""
    return timestamp(text) or moment(text)


def spell(value: timedelta) -> str:
    """Write a duration as Prometheus does; the reverse of `duration`."""
    rest, text = value // timedelta(milliseconds=1), ""
    for unit, factor in zip(("w", "d", "h", "m", "s", "ms"), _MILLISECONDS[1:], strict=True):
        count, rest = divmod(rest, factor)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def size(text: str) -> int:
    """Read a number of bytes, plain or with a unit: 16MiB, 1GB, 500kB."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{quote(text)} is not a size; write for instance 16MiB, 500kB or a number of bytes")
    value = int(found[1]) * _FACTORS[found[2].lower()]
    if not 1024 <= value <= 1 << 30:
        raise ValueError("must be from 1KiB to 1GiB")
    return value


def boolean(text: str) -> bool:
    """Read true or false, also in YAML 1.1's other words, which Alertmanager takes too."""
    word = text.casefold()
    if word in {"true", "yes", "on"}:
        return True
    if word in {"false", "no", "off"}:
        return False
    raise ValueError(f"must be true or false, not {quote(text)}")


def integer(low: int, high: int) -> Callable[[str], int]:
    """Make a reader of whole numbers in decimal digits from `low` to `high`."""

    def read(text: str) -> int:
        if re.fullmatch(r"\d{1,9}", text, re.ASCII) and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be a whole number from {low} to {high}, not {quote(text)}")

    return read


def name(text: str) -> str:
    """Check a name that people read: one line, not blank, without space around it."""
    if not text.strip():
        raise ValueError("a name must not be blank")
    if text != text.strip() or not text.isprintable() or len(text) > _LONGEST_NAME:
        raise ValueError("a name must be one line of at most 200 characters, without space around it")
    return text


def word(text: str) -> str:
    """Check a name that stands in a URL or in a log field."""
    if not _WORD.fullmatch(name(text)):
        raise ValueError(f"{quote(text)} may have only letters, digits, _ . and -")
    return text


def source(text: str) -> str:
    """Check the name of a source; `default` and the bridge's own are taken."""
    if text.casefold() == "default":
        raise ValueError('"default" is the source of POST /webhook, and cannot be an entry')
    if text.casefold() in {INTERNAL_SOURCE, DRILL_SOURCE}:
        raise ValueError(f"{quote(text)} is the source of the bridge's own incidents; take another name")
    return word(text)


def ten_characters(text: str) -> str:
    """Check a team id or key id: ten capital letters and digits."""
    if _TEN.fullmatch(text):
        return text
    seen = f"it has {len(text)}" if len(text) != 10 else "it has others"
    raise ValueError(
        f"must be 10 characters, capital letters and digits, as Apple's developer site shows it; {seen}"
    )


def bundle_id(text: str) -> str:
    """Check an app's bundle id; `.voip` at its end is taken off, since the sender adds it where needed."""
    bare = text.removesuffix(".voip")
    if not _BUNDLE_ID.fullmatch(bare):
        raise ValueError(f"{quote(text)} is not a bundle id such as com.example.oncall")
    return bare


def push_token(text: str) -> str:
    """Check a push token: an even number of hex digits. It is given back in small letters."""
    if len(text) > _LONGEST_TOKEN or len(text) < _SHORTEST_TOKEN or not _HEX.fullmatch(text):
        raise ValueError(
            f"must be an even number of hex digits, from {_SHORTEST_TOKEN} to {_LONGEST_TOKEN}, "
            f"as the phone gives it; this has {len(text)} characters"
            + ("" if _HEX.fullmatch(text) or len(text) % 2 else ", some of them not hex")
        )
    return text.lower()


def credentials(text: str) -> str:
    """Check a bearer token: printable ASCII without spaces, since it travels in a header."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be printable ASCII without spaces")
    return text


def in_folder(text: str, folder: Path) -> Path:
    """Give the file that `text` names; a relative path starts at `folder`."""
    if not text or "\0" in text:
        raise ValueError("is not a file name")
    return folder / text


def read_file(text: str, folder: Path) -> str:
    """Read a small text file. Its name stays out of every message: somebody may have put the secret there."""
    start = f" (relative paths start at {folder})" if not Path(text).is_absolute() else ""
    try:
        # O_NONBLOCK: a named pipe would make the whole bridge wait.
        handle = os.open(in_folder(text, folder), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError(f"the file cannot be read: not a regular file{start}")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}{start}") from None
    if len(data) > MAX_FILE:
        raise ValueError("the file is larger than 1 MiB")
    try:
        content = data.decode()
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    return content


def secret_text(text: str) -> str:
    """Take off the newline that ends a file, and refuse one that is empty then."""
    bare = text.removesuffix("\n").removesuffix("\r")
    if not bare.strip():
        raise ValueError("is empty")
    return bare
