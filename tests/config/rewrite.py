"""Write the expected output of each file again, after a message was changed: read the diff before committing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from bridge import config

FOLDER = Path(__file__).parent
NOW = datetime(2026, 11, 25, 2, tzinfo=UTC)


def outcome(path: Path) -> str:
    """Give the problems of a bad file, the warnings of a good one."""
    try:
        lines = config.load(path, NOW).warnings
    except config.ConfigError as error:
        lines = error.problems
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    for kind in ("bad", "good"):
        os.chdir(FOLDER / kind)
        for file in sorted(Path().glob("*.yaml")):
            file.with_suffix(".txt").write_text(outcome(file))
