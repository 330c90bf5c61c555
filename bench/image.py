"""The container image: really built, really run, and what it takes to start.

No container engine is needed. Debian's buildah builds it over a base made by debootstrap, which is kept in
the user's cache, so that only the first run takes long. It runs in a mount namespace of its own, as root's
child: not as root, on a read-only file system.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from bench.world import ROOT
from bridge.simulator import Simulator

STATE: Final = "/var/lib/pushkit-bridge"
NOBODY: Final = "65532:65532"
PROGRAMS: Final = ("buildah", "debootstrap", "unshare")

_BASE: Final = "localhost/pushkit-bridge-base"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_MIB: Final = 1 << 20
_DEVICES: Final = 10
_STARTS: Final = 3


class RunError(Exception):
    """A program failed; the text holds what it said."""


def run(*args: object, seconds: float = 600) -> str:
    """Run a program to its end; gives what it prints. Raises RunError."""
    command = [str(arg) for arg in args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, cwd=ROOT)
    if done.returncode != 0:
        raise RunError(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout.strip()


def missing() -> str | None:
    """Say what this machine lacks for it; None: nothing."""
    for program in PROGRAMS:
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            return f"{program} is not installed"
    return None if os.getuid() == 0 else "building an image without a container engine needs root"


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with a storage of its own: it shares nothing with the machine's images."""

    folder: Path

    def __call__(self, *args: object) -> str:
        """Run a command of it. Raises RunError."""
        storage = ("--root", self.folder / "storage", "--runroot", self.folder / "run")
        return run("buildah", *storage, "--storage-driver", "vfs", *args)

    def make_base(self) -> None:
        """Make what stands for the Dockerfile's FROM, once."""
        if _BASE in self("images", "--format", "{{.Name}}").split():
            return
        rootfs = self.folder / "rootfs"
        shutil.rmtree(rootfs, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", rootfs)
        container = self("from", "scratch")
        self("add", container, rootfs, "/")
        self("commit", "--rm", container, _BASE)
        shutil.rmtree(rootfs)

    def settings(self, image: str) -> dict[str, Any]:
        """Give what an image says of how it wants to be run."""
        found: dict[str, Any] = json.loads(self("inspect", "--type", "image", image))["Docker"]["config"]
        return found


def buildah() -> Buildah:
    """Give a buildah whose images are in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pushkit-bridge-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return Buildah(cache)


@contextmanager
def built(builder: Buildah) -> Iterator[str]:
    """Build the image of this clone; gives its name."""
    builder.make_base()
    name = f"localhost/pushkit-bridge-test-{os.getpid()}"
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"  # a company's proxy may need its own
    options = ("--isolation", "chroot", "--format", "docker", "--pull-never", "--volume", certificates)
    builder("build", *options, "--build-arg", f"BASE={_BASE}", "--tag", name, ROOT)
    try:
        yield name
    finally:
        builder("rmi", "--force", name)


@dataclass(frozen=True, slots=True)
class Container:
    """A file system made from the image, seen read-only by whatever is started in it."""

    root: Path
    state: Path
    env: dict[str, str]

    def command(self, *args: str) -> list[str]:
        """Give the command that runs `args` in it; it stays one process all the way."""
        script = f"""
            set -e
            mount --bind {self.root} {self.root}
            mount --bind {self.state} {self.root}{STATE}
            mount -o remount,bind,ro {self.root}
            exec chroot --userspec={NOBODY} {self.root} "$@"
        """
        env = [f"{name}={value}" for name, value in self.env.items()]
        return ["unshare", "--mount", "sh", "-c", script, "sh", "env", "-i", *env, *args]

    def __call__(self, *args: str) -> str:
        """Run something in it to its end. Raises RunError."""
        return run(*self.command(*args), seconds=60)


@contextmanager
def container(builder: Buildah, image: str, state: Path) -> Iterator[Container]:
    """Make a container whose volume is the folder `state`."""
    name = builder("from", "--pull-never", image)
    os.chown(state, *map(int, NOBODY.split(":")))
    env = dict(line.split("=", 1) for line in builder.settings(image)["Env"])
    try:
        yield Container(Path(builder("mount", name)), state, env)
    finally:
        builder("umount", name)
        builder("rm", name)


def configure(state: Path, simulator: Simulator) -> None:
    """Write a configuration for the phones of a simulator, with what it names, into the volume."""
    apns = {"team_id": simulator.team_id, "key_id": simulator.key_id, "topic": simulator.topic}
    shutil.copy(simulator.key_file, state / "key.p8")
    shutil.copy(simulator.ca_file, state / "ca.pem")
    devices = [
        {"name": phone.name, "owner": "alice", "voip_token": phone.profile.voip_token}
        for phone in simulator.phones
    ]
    config = {
        "apns": {**apns, "key_file": "key.p8", "ca_file": "ca.pem", "url": simulator.url},
        "storage": {"url": f"sqlite:///{STATE}/bridge.db"},
        "people": [{"name": "alice"}],
        "devices": devices,
        "device_groups": [{"name": "all", "owners": ["alice"]}],
        "receivers": [{"name": "all", "escalation": [{"device_groups": ["all"]}]}],
        "route": {"receiver": "all"},
    }
    (state / "config.yaml").write_text(yaml.safe_dump(config))
    for file in state.iterdir():
        os.chown(file, *map(int, NOBODY.split(":")))


@dataclass(frozen=True, slots=True)
class Served:
    """A bridge that is ready; `seconds` from the start of its process to there, in all and of a processor."""

    url: str
    pid: int
    seconds: float
    processor: float


@asynccontextmanager
async def serving(where: Container) -> AsyncIterator[Served]:
    """Run `serve` in a container until it is ready, and end it as an orchestrator does. Raises RunError."""
    address = ("--web.listen-address=127.0.0.1:0", "--phone.listen-address=127.0.0.1:0", "--log.format=json")
    command = where.command("pushkit-bridge", "serve", f"--config.file={STATE}/config.yaml", *address)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        url = await _started(process)
        await _ready(url)
        yield Served(url, process.pid, time.perf_counter() - began, _processor(process.pid))
    finally:
        if process.returncode is None:
            process.terminate()
        _, rest = await process.communicate()
    if process.returncode:
        raise RunError(f"serve ended with {process.returncode}: {rest.decode(errors='replace')[-2000:]}")


async def _started(process: asyncio.subprocess.Process) -> str:
    lines = []
    assert process.stderr is not None
    async for line in process.stderr:
        lines.append(line.decode(errors="replace"))
        if line.startswith(b"{") and (said := json.loads(line))["event"] == "started":
            url: str = said["web"][0]
            return url
    raise RunError(f"serve did not start: {''.join(lines)}")


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/-/ready") as answer:
        if answer.status != 200:
            raise RunError(await answer.text())


def _processor(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, float]:
    """Give a process' memory in MiB: resident, and the part that is no file's and cannot be given back."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = dict(line.split(":", 1) for line in status.splitlines())
    return {
        name: int(found[key].split()[0]) * 1024 / _MIB
        for name, key in (("resident", "VmRSS"), ("anonymous", "RssAnon"))
    }


async def figures(where: Container) -> list[str]:
    """Start it several times with ten devices, the first time with an empty volume; gives lines to print."""
    async with Simulator(phones=[f"phone-{number}" for number in range(_DEVICES)]) as simulator:
        configure(where.state, simulator)
        lines = []
        for number in range(_STARTS):
            async with serving(where) as bridge:
                sizes = memory(bridge.pid)
            what = "first start, which makes the ledger" if not number else "start on its ledger"
            lines.append(
                f"{what}: ready after {bridge.seconds:.2f} s ({bridge.processor:.2f} s of a processor), "
                f"{sizes['resident']:.0f} MiB resident, {sizes['anonymous']:.0f} of them anonymous"
            )
        return lines


def measure() -> list[str]:
    """Build the image and measure it; gives lines to print. Raises RunError."""
    if lack := missing():
        raise RunError(lack)
    builder = buildah()
    with (
        tempfile.TemporaryDirectory() as folder,
        built(builder) as image,
        container(builder, image, Path(folder)) as where,
    ):
        whole, own = (run("du", "-sm", part).split()[0] for part in (where.root, where.root / "opt"))
        return [
            f"image: {whole} MiB uncompressed, {own} of them not of its base",
            *asyncio.run(figures(where)),
        ]
