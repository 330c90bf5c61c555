"""ios/ under a real Swift compiler. Nothing is downloaded unless PUSHKIT_BRIDGE_SWIFT asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKED = os.environ.get("PUSHKIT_BRIDGE_SWIFT", "")
THERE = [ROOT / "build/swiftroot"] if ASKED in {"", "make"} else [Path(ASKED)]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        ASKED != "make"
        and not any((root / "usr/libexec/swift/bin/swift").exists() for root in THERE)
        and shutil.which("swift") is None,
        reason="no Swift compiler here: `make ios` makes one in some minutes, or PUSHKIT_BRIDGE_SWIFT=make",
    ),
    pytest.mark.skipif(
        os.geteuid() != 0 and shutil.which("swift") is None,
        reason="the compiler's root is entered by root alone",
    ),
]


def swift(*words: str) -> str:
    """Run scripts/swift; gives what it says."""
    done = subprocess.run(
        [ROOT / "scripts/swift", *words], capture_output=True, text=True, check=False, timeout=1200
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return said


def test_the_core_passes_its_tests_under_a_real_compiler() -> None:
    assert " tests, with 0 failures" in swift("test", "--skip", "LiveTests")


def test_the_app_fits_the_core_and_the_stubs_of_apples_frameworks() -> None:
    assert "The app fits" in swift("app")
