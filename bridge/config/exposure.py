"""Which secrets everybody on the machine can read, or change: told, never refused.

A pager that does not start after somebody's `cp` is worse than a key that others can read.
"""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Iterator
from typing import Final

from bridge.config.problems import Path, Problem
from bridge.config.tree import Tree

_HELD_IN_FILES: Final = (
    "apns.key_file",
    "apns.certificate_key_file",
    "apns.certificate_file",
    "apns.proxy_file",
    "storage.password_file",
    "sources.*.credentials_file",
    "schedules.*.ical_url_file",
    "receivers.*.escalation.*.webhooks.*.url_file",
)
_HELD_HERE: Final = tuple(pattern.removesuffix("_file") for pattern in _HELD_IN_FILES)


def exposed(tree: Tree, folder: pathlib.Path) -> Iterator[Problem]:
    """Find secrets of a configuration that anybody can read or change; one problem for each file."""
    own = _modes(pathlib.Path(tree.file))
    if "w" in own:
        yield tree.problem((), "everybody on this machine can change this file: chmod o-w it")
    elif "r" in own and (path := _secret_here(tree)):
        yield tree.problem(path, "everybody on this machine can read this secret: chmod o-r this file")
    for pattern in _HELD_IN_FILES:
        for path in tree.find(pattern):
            if (path[-1] != "certificate_file" or not tree.find("apns.certificate_key_file")) and (
                modes := _modes(folder / str(tree.get(path)))
            ):
                verb = "change" if "w" in modes else "read"
                yield tree.problem(path, f"everybody on this machine can {verb} this file: chmod o-rw it")


def _secret_here(tree: Tree) -> Path | None:
    found = (path for pattern in _HELD_HERE for path in tree.find(pattern))
    return next(found, None)


def _modes(path: pathlib.Path) -> str:
    """Give what others may do with a file: "", "r", "w" or "rw".

    Nothing where they cannot come to it through its folders. Kubernetes mounts secrets readable for all
    behind a link named ..data, in a volume that only the pod sees: that is as it should be.
    """
    try:
        real = path.resolve(strict=True)
        ways = [folder.stat().st_mode for folder in real.parents]
        mode = real.stat().st_mode
    except (OSError, ValueError):
        return ""
    if not all(way & stat.S_IXOTH for way in ways) or any(part.startswith("..") for part in real.parts):
        return ""
    return "r" * bool(mode & stat.S_IROTH) + "w" * bool(mode & stat.S_IWOTH)


def readable_by_all(path: pathlib.Path) -> bool:
    """Tell whether everybody on the machine can read or change a file."""
    return bool(_modes(path))
