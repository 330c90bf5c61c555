"""Servers that nobody here wrote: nghttpd (nghttp2) and Node's http2."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apnsworld import Connect, World, push
from peer import PATIENCE

from bridge.apns import Transport
from bridge.pushes import Accepted, Outcome, Retryable

pytestmark = pytest.mark.real

NGHTTPD = shutil.which("nghttpd") or "/usr/sbin/nghttpd"
NODE = shutil.which("node") or ""

# One line of JSON says the port. Options come as JSON in the last argument.
SERVER = """
const http2 = require('http2'), fs = require('fs');
const [key, cert, options] = process.argv.slice(1);
const o = JSON.parse(options);
const s = http2.createSecureServer({key: fs.readFileSync(key), cert: fs.readFileSync(cert),
  settings: o.settings || {}, paddingStrategy: o.padding || 0});
let count = 0, open = 0, most = 0;
s.on('session', session => { if (o.raise) setTimeout(() => session.settings({maxConcurrentStreams: o.raise}), 20); });
s.on('stream', (stream, headers) => {
  open += 1; most = Math.max(most, open); count += 1;
  const mine = count; let length = 0;
  stream.on('error', () => {});
  stream.on('data', d => length += d.length);
  stream.on('close', () => { open -= 1; });
  stream.on('end', () => setTimeout(() => {
    if (stream.destroyed) return;
    if (o.interim) stream.additionalHeaders({':status': 103, link: '</x>'});
    if (o.goaway && mine === o.goaway) stream.session.goaway(0, 2 ** 31 - 1);
    if (o.refuse && mine % 3 === 0) { stream.close(http2.constants.NGHTTP2_REFUSED_STREAM); return; }
    const h = {':status': 200, 'apns-id': headers['apns-id'], 'x-length': String(length)};
    if (o.large) h['x-large'] = 'y'.repeat(o.large);
    stream.respond(h, {waitForTrailers: !!o.trailers});
    if (o.trailers) stream.on('wantTrailers', () => stream.sendTrailers({'x-end': '1'}));
    stream.end(o.body || '');
  }, o.delay || 0));
});
s.listen(0, '127.0.0.1', () => console.log(JSON.stringify({port: s.address().port})));
"""


@contextlib.asynccontextmanager
async def node(world: World, **options: Any) -> AsyncIterator[str]:
    arguments = (NODE, "-e", SERVER, world.key_file, world.chain_file, json.dumps(options))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        yield f"https://127.0.0.1:{json.loads(line)['port']}"
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def nghttpd(world: World, port: int, folder: Path, *options: str) -> AsyncIterator[str]:
    devices = folder / "3" / "device"
    devices.mkdir(parents=True)
    for number in range(100):
        (devices / f"{number:064x}").write_bytes(b"")
    arguments = (NGHTTPD, "-a", "127.0.0.1", "-d", str(folder), *options, str(port))
    process = await asyncio.create_subprocess_exec(
        *arguments, world.key_file, world.chain_file, stdout=asyncio.subprocess.DEVNULL
    )
    try:
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
                    break
        yield f"https://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def burst(transport: Transport, count: int, size: int) -> list[Outcome]:
    requests = (push(number % 100, payload=b"x" * size) for number in range(count))
    return await asyncio.wait_for(asyncio.gather(*map(transport.send, requests)), 2 * PATIENCE)


@pytest.mark.skipif(not Path(NGHTTPD).exists(), reason="nghttpd is not installed")
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-m", "1"),
        ("-m", "8", "--window-bits=10"),
        ("-m", "1000", "-w", "16", "-W", "24"),
        ("--header-table-size=0", "--encoder-header-table-size=0"),
        ("-b", "200", "--trailer=x-end: 1"),
        ("--window-bits=4", "-m", "100"),
    ],
    ids=" ".join,
)
async def test_nghttpd_takes_every_push(
    world: World, connect: Connect, unused_port: int, tmp_path: Path, options: Any
) -> None:
    async with nghttpd(world, unused_port, tmp_path, *options) as url:
        transport = await connect(url, max_connections=2)
        assert transport.usable, transport.last_error
        size = 100 if "--window-bits=4" in options else 5_000
        assert await burst(transport, 200, size) == [Accepted()] * 200
        assert transport.open_connections >= 1


@pytest.mark.skipif(not NODE, reason="node is not installed")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"settings": {"maxConcurrentStreams": 1}, "raise": 1000},
        {"settings": {"maxConcurrentStreams": 8, "initialWindowSize": 1000}},
        {"settings": {"headerTableSize": 0}},
        {"padding": 2, "body": "padded"},
        {"interim": True, "trailers": True, "body": "{}"},
        {"large": 12_000},
    ],
    ids=str,
)
async def test_node_takes_every_push(world: World, connect: Connect, options: Any) -> None:
    async with node(world, **options) as url:
        transport = await connect(url, max_connections=2)
        assert await burst(transport, 200, 5_000) == [Accepted()] * 200


@pytest.mark.skipif(not NODE, reason="node is not installed")
async def test_node_goes_away_with_pushes_in_flight_and_all_have_an_outcome(
    world: World, connect: Connect
) -> None:
    async with node(world, goaway=20, delay=5) as url:
        transport = await connect(url)
        outcomes = await burst(transport, 100, 400)
        others = [outcome for outcome in outcomes if outcome != Accepted()]
        assert len(outcomes) - len(others) >= 20
        assert {(type(outcome), outcome.reason) for outcome in others} <= {
            (Retryable, "GoAway"),
            (Retryable, "ConnectionLost"),
            (Retryable, "StreamReset"),
            (Retryable, "StreamRefused"),
        }


@pytest.mark.skipif(not NODE, reason="node is not installed")
async def test_streams_that_node_refuses_were_certainly_not_processed(world: World, connect: Connect) -> None:
    async with node(world, refuse=True) as url:
        transport = await connect(url)
        outcomes = await burst(transport, 90, 400)
        assert outcomes.count(Accepted()) == 60
        assert outcomes.count(Retryable("StreamRefused", None, certainly_not_processed=True)) == 30
