"""The container image is really built, and really run: not as root, on a read-only file system.

No container engine is needed. Debian's buildah builds it over a base made by debootstrap,
which is kept in the user's cache, so that only the first run takes long. It runs in a mount
namespace of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BASE = "localhost/pushkit-bridge-base"
PACKAGES = "python3,python3-venv,ca-certificates"
STATE = "/var/lib/pushkit-bridge"
NOBODY = "65532:65532"


def run(*args: object, timeout: float = 280) -> str:
    done = subprocess.run(
        [str(arg) for arg in args], capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT
    )
    assert done.returncode == 0, f"{args}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


@dataclass
class Buildah:
    """buildah with a storage of its own: it shares nothing with the machine's images."""

    folder: Path

    def __call__(self, *args: object) -> str:
        storage = ("--root", self.folder / "storage", "--runroot", self.folder / "run")
        return run("buildah", *storage, "--storage-driver", "vfs", *args)

    def make_base(self) -> None:
        """Make what stands for the Dockerfile's FROM, once."""
        if BASE in self("images", "--format", "{{.Name}}").split():
            return
        rootfs = self.folder / "rootfs"
        shutil.rmtree(rootfs, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", rootfs)
        container = self("from", "scratch")
        self("add", container, rootfs, "/")
        self("commit", "--rm", container, BASE)
        shutil.rmtree(rootfs)


@pytest.fixture
def buildah() -> Buildah:
    for program in ("buildah", "debootstrap", "unshare"):
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            pytest.skip(f"{program} is not installed")
    if os.getuid() != 0:
        pytest.skip("building an image without a container engine needs root")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pushkit-bridge-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return Buildah(cache)


@pytest.fixture
def image(buildah: Buildah) -> Iterator[str]:
    buildah.make_base()
    name = f"localhost/pushkit-bridge-test-{os.getpid()}"
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"  # a company's proxy may need its own
    options = ("--isolation", "chroot", "--format", "docker", "--pull-never", "--volume", certificates)
    buildah("build", *options, "--build-arg", f"BASE={BASE}", "--tag", name, ROOT)
    yield name
    buildah("rmi", "--force", name)


@dataclass
class Container:
    """A file system made from the image, seen read-only by whatever is started in it."""

    root: Path
    state: Path
    env: dict[str, str]

    def command(self, *args: str) -> list[str]:
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
        return run(*self.command(*args), timeout=60)


@pytest.fixture
def container(buildah: Buildah, image: str, tmp_path: Path) -> Iterator[Container]:
    name = buildah("from", "--pull-never", image)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65532, 65532)
    env = dict(line.split("=", 1) for line in settings(buildah, image)["Env"])
    yield Container(Path(buildah("mount", name)), state, env)
    buildah("umount", name)
    buildah("rm", name)


def settings(buildah: Buildah, image: str) -> dict[str, Any]:
    return json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]


@pytest.mark.real
def test_the_image_runs_the_bridge_as_nobody_on_a_read_only_root(
    buildah: Buildah, image: str, container: Container
) -> None:
    asked = settings(buildah, image)
    assert asked["User"] == NOBODY
    assert asked["Healthcheck"]["Test"] == ["CMD", "pushkit-bridge", "healthcheck"]
    assert asked["Entrypoint"] == ["pushkit-bridge"]
    assert set(asked["ExposedPorts"]) == {"9095/tcp", "9096/tcp"}
    assert set(asked["Volumes"]) == {STATE}

    assert container("id", "-u") == "65532"
    assert container(
        "sh", "-c", f"touch /tmp/x /etc/x 2>/dev/null || touch {STATE}/x && echo only-state"
    ) == ("only-state")
    assert container("python3", "-c", "import bridge; print(bridge.__file__)").startswith(
        "/opt/pushkit-bridge/"
    )
    assert container("sh", "-c", "command -v pip hatchling pytest || echo none") == "none"
    assert container("pushkit-bridge", "--version").startswith("pushkit-bridge")

    with served(container) as address:
        container("pushkit-bridge", "healthcheck", f"--url={address}/-/healthy")
    assert (container.state / "bridge.db").exists()
    with pytest.raises(AssertionError, match=r"/-/healthy"):
        container("pushkit-bridge", "healthcheck", f"--url={address}/-/healthy")


@contextmanager
def served(container: Container) -> Iterator[str]:
    """Run `serve` in the container; yields where it listens."""
    shutil.copytree(ROOT / "examples", container.state / "examples")
    config = (ROOT / "config.example.yaml").read_text()
    (container.state / "config.yaml").write_text(config)
    args = ("--web.listen-address=127.0.0.1:0", "--phone.listen-address=127.0.0.1:0", "--log.format=json")
    command = container.command("pushkit-bridge", "serve", f"--config.file={STATE}/config.yaml", *args)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = (json.loads(line) for line in process.stderr if line.startswith("{"))
            started = next(line for line in lines if line["event"] == "started")
            yield started["web"][0]
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_dockerfile_pleases_hadolint() -> None:
    run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile")
