"""What the bridge tells of itself gives nothing away."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys, structlog
from bridge.telemetry import configure_logs

configure_logs("info", sys.argv[1])

def send(token):
    raise RuntimeError("it broke")

for log in (structlog.get_logger(), logging.getLogger("a library")):
    try:
        send("".join(["s3", "cr3t"]))
    except RuntimeError:
        log.exception("a send failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_in_the_log_shows_where_it_broke_and_no_value_of_a_variable(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.count("it broke") >= 2
    assert "in send" in done.stderr
    assert "s3cr3t" not in done.stderr
