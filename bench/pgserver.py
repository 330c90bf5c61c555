"""A PostgreSQL of one's own: the machine's programs, on a free port, in a folder that goes with it."""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bridge.children import find_program, free_port
from bridge.store.postgres import Postgres
from bridge.store.tables import metadata

# Nothing here outlives the tests: no fsync.
SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "shared_buffers": "32MB", "max_connections": "200",
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "log_min_messages": "fatal",
}  # fmt: skip
PASSWORD = "s3cret-of-postgres"


def _program(name: str) -> str:
    for place in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(place)
    return find_program(name, package="postgresql")


class Server:
    """Use `start` and `stop`; `crash` is kill -9 of all of it. It keeps its port and its data."""

    def __init__(self, **settings: str) -> None:
        self._stack = ExitStack()
        self.port = self._stack.enter_context(free_port())
        self._settings = SETTINGS | settings
        # PostgreSQL does not run as root.
        self._as = (
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        )
        self.folder = Path(tempfile.mkdtemp(prefix="pushkit-bridge-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._free: list[str] = []
        if self._as:
            shutil.chown(self.folder, "nobody", "nogroup")
        self._run(
            _program("initdb"), "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-N",
            "--no-instructions", "-E", "UTF8", "--locale=C",
        )  # fmt: skip

    def _run(self, *command: str) -> None:
        subprocess.run([*self._as, *command], check=True, capture_output=True, cwd="/", env=_ENVIRONMENT)

    def start(self) -> None:
        """Start it, and come back when it lets somebody in."""
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        # It ends with us, however we end.
        alone = [*(self._as or ["setpriv"]), "--pdeathsig=QUIT", _program("postgres")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*alone, "-D", str(self.folder / "data"), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_ENVIRONMENT,
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 30
        ready = self.folder / "data/postmaster.pid"
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if ready.exists() and ready.read_text().rstrip().endswith("ready"):
                return
            time.sleep(0.01)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    @property
    def pid(self) -> int:
        """Its first process; the others are that one's children."""
        assert self._process is not None
        return self._process.pid

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it as `pg_ctl -m fast` does, or by another signal."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def crash(self) -> None:
        """Kill -9 of the server: its other processes see that it is gone, and end."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop it for good."""
        self.stop(signal.SIGQUIT)
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- databases ---

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url(database))
            try:
                await connection.execute(";".join(statements))
            finally:
                await connection.close()

        in_thread(run)

    def empty(self) -> str:
        """Make a database with nothing in it; gives its name."""
        name = f"ledger_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    @contextmanager
    def ledger(self) -> Iterator[str]:
        """Lend a database with an empty ledger; gives its URL. To clean one takes less than to make one."""
        if self._free:
            name = self._free.pop()
            tables = metadata.tables.values()
            numbered = [table.name for table in tables if table.autoincrement_column is not None]
            self.execute(
                *(f"DELETE FROM {table.name}" for table in tables if table.name != "meta"),
                "DELETE FROM meta WHERE name <> 'serves'",
                *(f"ALTER SEQUENCE {name}_id_seq RESTART" for name in numbered),
                database=name,
            )
        else:
            name = self.empty()
            in_thread(Postgres(self.url(name), None).migrate)
        yield self.url(name)
        self._free.append(name)  # a test that fails keeps its own

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


_ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def in_thread(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end, also where a loop is running."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


_shared: list[Server] = []


def shared() -> Server:
    """The server of this process (a worker of xdist is one), started when it is first asked for."""
    if not _shared:
        server = Server()
        server.start()
        atexit.register(server.close)
        _shared.append(server)
    return _shared[0]
