"""Servers that nobody here wrote, each made to behave in one way: nghttpd, nghttp2's library, Node, h2."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import nghttp2
from apnsworld import World
from h2.settings import SettingCodes
from listener import PATIENCE, Listener
from peer import Link, Peer, Request

from bridge.apns import framing

NGHTTPD = shutil.which("nghttpd") or "/usr/sbin/nghttpd"
NODE = shutil.which("node") or ""


@dataclass(frozen=True)
class Behaviour:
    """How a server behaves. Windows in octets, `delay` in seconds before an answer."""

    window: int = 65_535
    connection_window: int = 65_535
    streams: int = 100
    limits: tuple[tuple[int, int], ...] = ()  # after so many requests: this stream limit
    table: int = 4_096  # of header compression, both ways
    padding: int = 0
    long_field: int = 0  # octets of a field that makes CONTINUATION necessary
    trailers: bool = False
    interim: int = 0  # 1xx answers before the final one
    goaway_at: int = 0  # the request that is the last one of the first connection
    delay: float = 0.0


class Served(Protocol):
    """A server that runs."""

    url: str

    async def processed(self) -> Counter[str]:
        """Give how often each apns-id was answered."""

    async def go_away(self) -> None:
        """Send GOAWAY on every idle connection."""


# --- h2 ---------------------------------------------------------------------------------------


class H2:
    """h2, as `peer` drives it."""

    def __init__(self, peer: Peer, behaviour: Behaviour) -> None:
        self.peer, self.behaviour = peer, behaviour
        self.done: Counter[str] = Counter()
        self.last: dict[Link, int] = {}
        peer.script, peer.greet = self.take, self.greet

    @property
    def url(self) -> str:
        return self.peer.url

    def greet(self, link: Link) -> None:
        if self.behaviour.connection_window > 65_535:
            link.h2.increment_flow_control_window(self.behaviour.connection_window - 65_535)
        link.h2.encoder.header_table_size = min(self.behaviour.table, 4_096)
        link.flush()

    def take(self, link: Link, request: Request) -> None:
        limits = dict(self.behaviour.limits)
        count = len(self.peer.requests)
        if count in limits:
            link.change(MAX_CONCURRENT_STREAMS=limits[count])
        if count == self.behaviour.goaway_at:
            self.last[link] = request.stream_id
            link.raw(framing.goaway(2**31 - 1, framing.ErrorCode.NO_ERROR, ""))
            link.raw(framing.goaway(request.stream_id, framing.ErrorCode.NO_ERROR, "Shutdown"))
        asyncio.get_running_loop().call_later(self.behaviour.delay, self.answer, link, request)

    def answer(self, link: Link, request: Request) -> None:
        if request.stream_id > self.last.get(link, request.stream_id) or link.gone.is_set():
            return
        behaviour, h2, stream = self.behaviour, link.h2, request.stream_id
        for _ in range(behaviour.interim):
            h2.send_headers(stream, [(":status", "103"), ("link", "</x>")])
        fields = [(":status", "200"), ("apns-id", request.headers["apns-id"])]
        if behaviour.long_field:
            fields.append(("x-long", "y" * behaviour.long_field))
        body = bool(behaviour.trailers or behaviour.padding)
        h2.send_headers(stream, fields, end_stream=not body)
        if body:
            h2.send_data(
                stream, b"{}", end_stream=not behaviour.trailers, pad_length=behaviour.padding or None
            )
        if behaviour.trailers:
            h2.send_headers(stream, [("x-end", "1")], end_stream=True)
        link.open -= 1
        link.flush()
        self.done[request.headers["apns-id"]] += 1

    async def processed(self) -> Counter[str]:
        return self.done

    async def go_away(self) -> None:
        for link in self.peer.links:
            link.raw(framing.goaway(2**31 - 1, framing.ErrorCode.NO_ERROR, ""))
            link.raw(framing.goaway(max(link.requests, default=0), framing.ErrorCode.NO_ERROR, "IdleTimeout"))


@contextlib.asynccontextmanager
async def h2(world: World, behaviour: Behaviour, folder: Path, port: int) -> AsyncIterator[Served]:
    settings = {
        SettingCodes.MAX_CONCURRENT_STREAMS: behaviour.streams,
        SettingCodes.INITIAL_WINDOW_SIZE: behaviour.window,
        SettingCodes.HEADER_TABLE_SIZE: behaviour.table,
    }
    peer = Peer(world.server_context(), settings=settings)
    served = H2(peer, behaviour)
    async with peer:
        yield served


# --- nghttp2's library ------------------------------------------------------------------------


class Answering(nghttp2.Session):
    """One connection of it."""

    def __init__(self, server: Library) -> None:
        behaviour = self.behaviour = server.behaviour
        super().__init__(server.lib, padding=behaviour.padding)
        self.server = server
        self.last = 2**31 - 1
        self.settings(
            {
                nghttp2.MAX_CONCURRENT_STREAMS: behaviour.streams,
                nghttp2.INITIAL_WINDOW_SIZE: behaviour.window,
                nghttp2.HEADER_TABLE_SIZE: behaviour.table,
            }
        )
        self.widen(behaviour.connection_window)
        server.sessions.append(self)

    def on_request(self, stream_id: int) -> None:
        server, limits = self.server, dict(self.behaviour.limits)
        server.count += 1
        if server.count in limits:
            self.settings({nghttp2.MAX_CONCURRENT_STREAMS: limits[server.count]})
        if server.count == self.behaviour.goaway_at:
            self.leave(stream_id)
        asyncio.get_running_loop().call_later(self.behaviour.delay, self.respond, stream_id)

    def leave(self, last: int) -> None:
        self.last = last
        self.goaway(nghttp2.GRACEFUL)
        self.flush()
        self.goaway(last)
        self.flush()

    def respond(self, stream_id: int) -> None:
        request, behaviour = self.requests[stream_id], self.behaviour
        if self.session is None or request.closed or stream_id > self.last:
            return
        for _ in range(behaviour.interim):
            self.interim(stream_id, (":status", "103"), ("link", "</x>"))
        fields = [(":status", "200"), ("apns-id", request.headers["apns-id"])]
        if behaviour.long_field:
            fields.append(("x-long", "y" * behaviour.long_field))
        body = b"{}" if behaviour.trailers or behaviour.padding else b""
        self.answer(stream_id, *fields, body=body, trailer="1" if behaviour.trailers else "")
        self.flush()
        self.server.done[request.headers["apns-id"]] += 1


class Library:
    """nghttp2 behind asyncio's TLS."""

    url = ""

    def __init__(self, lib: Any, behaviour: Behaviour) -> None:
        self.lib, self.behaviour = lib, behaviour
        self.sessions: list[Answering] = []
        self.done: Counter[str] = Counter()
        self.count = 0

    def abort(self) -> None:
        for session in self.sessions:
            if session.transport is not None:
                session.transport.abort()

    async def processed(self) -> Counter[str]:
        assert not [session.failure for session in self.sessions if session.failure]
        return self.done

    async def go_away(self) -> None:
        for session in self.sessions:
            if session.session is not None:
                session.leave(session.last_seen)


@contextlib.asynccontextmanager
async def library(world: World, behaviour: Behaviour, folder: Path, port: int) -> AsyncIterator[Served]:
    served = Library(nghttp2.load(), behaviour)
    async with Listener(lambda: Answering(served), world.server_context(), end=served.abort) as server:
        served.url = f"https://127.0.0.1:{server.port}"
        yield served


# --- Node -------------------------------------------------------------------------------------

# The first line of its output says the port; then each line of input is a command, and has one line of answer.
SCRIPT = """
const http2 = require('http2'), fs = require('fs'), readline = require('readline');
const [key, cert, options] = process.argv.slice(1);
const o = JSON.parse(options), limits = Object.fromEntries(o.limits), done = {}, sessions = new Set();
const s = http2.createSecureServer({key: fs.readFileSync(key), cert: fs.readFileSync(cert),
  maxDeflateDynamicTableSize: o.table, maxSendHeaderBlockLength: 100000, paddingStrategy: o.padding ? 2 : 0,
  settings: {maxConcurrentStreams: o.streams, initialWindowSize: o.window, headerTableSize: o.table}});
let count = 0;
function leave(session, last) { session.goaway(0, 2 ** 31 - 1); session.goaway(0, last); session.left = last; }
s.on('session', session => {
  sessions.add(session); session.left = 2 ** 31 - 1; session.last = 0;
  session.setLocalWindowSize(o.connection_window);
  session.on('error', () => {}); session.on('close', () => sessions.delete(session));
});
s.on('stream', (stream, headers) => {
  const session = stream.session;
  stream.on('error', () => {});
  if (!session) return;  // it was above the last id
  session.last = stream.id;
  stream.resume();
  stream.on('end', () => {
    count += 1;
    if (limits[count]) session.settings({maxConcurrentStreams: limits[count]});
    if (count === o.goaway_at) leave(session, stream.id);
    setTimeout(() => {
      if (stream.destroyed || stream.id > session.left) return;
      for (let i = 0; i < o.interim; i += 1) stream.additionalHeaders({':status': 103, link: '</x>'});
      const h = {':status': 200, 'apns-id': headers['apns-id']};
      if (o.long_field) h['x-long'] = 'y'.repeat(o.long_field);
      stream.respond(h, {waitForTrailers: o.trailers, endStream: !o.trailers && !o.padding});
      if (o.trailers) stream.on('wantTrailers', () => stream.sendTrailers({'x-end': '1'}));
      if (o.trailers || o.padding) stream.end('{}');
      done[headers['apns-id']] = (done[headers['apns-id']] || 0) + 1;
    }, o.delay * 1000);
  });
});
s.listen(0, '127.0.0.1', () => console.log(s.address().port));
readline.createInterface({input: process.stdin}).on('line', line => {
  if (line === 'leave') for (const session of sessions) leave(session, session.last);
  console.log(JSON.stringify(done));
});
"""


class Node:
    """Node's own http2 module, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def line(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.process.stdout.readline())

    async def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        return await self.line()

    async def processed(self) -> Counter[str]:
        return Counter(await self.ask("count"))

    async def go_away(self) -> None:
        await self.ask("leave")


@contextlib.asynccontextmanager
async def node(world: World, behaviour: Behaviour, folder: Path, port: int) -> AsyncIterator[Served]:
    pipe = asyncio.subprocess.PIPE
    arguments = (NODE, "-e", SCRIPT, world.key_file, world.chain_file, json.dumps(asdict(behaviour)))
    process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe)
    served = Node(process)
    try:
        served.url = f"https://127.0.0.1:{await served.line()}"
        yield served
    finally:
        process.kill()
        await process.communicate()


# --- nghttpd ----------------------------------------------------------------------------------


class Program:
    """nghttpd; what it saw is read from what it says."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    async def processed(self) -> Counter[str]:
        ended = set(re.findall(r"send HEADERS frame <[^>]*stream_id=(\d+)>", said := self.log.read_text()))
        seen = re.findall(r"recv \(stream_id=(\d+)[^)]*\) apns-id: (\S+)", said)
        return Counter(name for stream, name in seen if stream in ended)

    async def go_away(self) -> None:
        raise NotImplementedError


@contextlib.asynccontextmanager
async def nghttpd(world: World, behaviour: Behaviour, folder: Path, port: int) -> AsyncIterator[Served]:
    devices = folder / "3" / "device"
    devices.mkdir(parents=True)
    for number in range(100):
        (devices / f"{number:064x}").write_bytes(b"{}" if behaviour.trailers or behaviour.long_field else b"")
    arguments = [NGHTTPD, "-v", "-a", "127.0.0.1", "-d", str(folder), "-m", str(behaviour.streams)]
    arguments += [
        "-w",
        str(behaviour.window.bit_length()),
        "-W",
        str(behaviour.connection_window.bit_length()),
    ]
    arguments += ["-c", str(behaviour.table), f"--encoder-header-table-size={behaviour.table}"]
    arguments += ["-b", str(behaviour.padding)]
    if behaviour.trailers or behaviour.long_field:
        arguments.append("--trailer=x-end: " + "y" * (behaviour.long_field or 1))
    log = folder / "nghttpd.log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *arguments, str(port), world.key_file, world.chain_file, stdout=sink
        )
    try:
        await _listening(port)
        yield Program(f"https://127.0.0.1:{port}", log)
    finally:
        process.kill()
        await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return


Start = Callable[[World, Behaviour, Path, int], contextlib.AbstractAsyncContextManager[Served]]
SERVERS: dict[str, Start] = {"nghttpd": nghttpd, "nghttp2": library, "node": node, "h2": h2}


def missing(server: str) -> str | None:
    """Say what this machine lacks for it."""
    if server == "nghttpd" and not Path(NGHTTPD).exists():
        return "nghttpd is not installed"
    if server == "node" and not NODE:
        return "node is not installed"
    if server == "nghttp2":
        try:
            nghttp2.load()
        except OSError:
            return "libnghttp2 is not installed"
    return None
