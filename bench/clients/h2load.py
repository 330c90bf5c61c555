"""h2load, nghttp2's load generator in C: one request again and again. No client, but a ceiling."""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from pathlib import Path

from bench.clients.measure import Job, Result, push_id, quantile, token
from bench.clients.request import fields


def h2load(job: Job, body: Path, seconds: float, *options: str) -> str:
    """Run it; gives what it says."""
    headers = {**fields(job), "apns-id": push_id(0)}
    command = [
        "h2load", "--clients=1", f"--max-concurrent-streams={job.in_flight}", f"--data={body}",
        f"--duration={round(seconds * 1_000)}ms", *options,
        *(f"--header={name}: {value}" for name, value in headers.items()),
        f"{job.url}/3/device/{token(0)}",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    job = Job.from_argv()
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(job.body())
        said = h2load(job, body, job.seconds)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Its log has each answer's time, and makes it a third slower: so that is another run.
        h2load(job, body, min(job.seconds, 0.3), f"--log-file={log}")
        waits = sorted(int(line.split("\t")[2]) / 1e6 for line in log.read_text().splitlines())
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said)
    if counts is None:
        raise SystemExit(f"h2load said something else:\n{said}")
    good, failed, errored = map(int, counts.groups())
    processor = used.ru_utime + used.ru_stime
    Result(
        good, job.seconds, processor, quantile(waits, 0.5), quantile(waits, 0.99), failed + errored
    ).finish()


if __name__ == "__main__":
    main()
