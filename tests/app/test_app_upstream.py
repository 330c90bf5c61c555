"""How the bridge gets in at Alertmanager: as its own http_config does it, and read again at a reload."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from alertmanagers import StandIn, standing_in
from appworld import World
from structlog.testing import capture_logs


async def start(world: World, upstream: StandIn, **options: Any) -> None:
    """Start the bridge, and let it ask Alertmanager once."""
    world.config["alertmanager"] = {"url": upstream.url} | options
    await world.start()
    await world.settled()


async def unreachable(world: World) -> bool:
    await world.pass_(60)
    await world.get("/metrics")
    return world.metric("alertmanager_unreachable_seconds", alertmanager="default") > 0


@pytest.fixture
async def upstream(stage: World) -> AsyncIterator[StandIn]:
    async with standing_in(stage.clock.now) as one:
        yield one


async def test_without_credentials_none_are_sent(stage: World, upstream: StandIn) -> None:
    await start(stage, upstream)
    assert upstream.authorizations == {None}


async def test_a_user_and_a_password_in_any_script(stage: World, upstream: StandIn) -> None:
    await start(stage, upstream, basic_auth={"username": "bridge", "password": "hunter2: äöü"})
    (sent,) = upstream.authorizations
    assert sent is not None
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "bridge:hunter2: äöü"


async def test_a_token_in_a_file_and_another_after_a_reload(stage: World, upstream: StandIn) -> None:
    file = stage.folder / "token"
    file.write_text("first\n")
    await start(stage, upstream, authorization={"type": "Token", "credentials_file": str(file)})
    assert upstream.authorizations == {"Token first"}
    file.write_text("second\n")
    await stage.reload()
    await stage.settled()
    assert upstream.authorizations == {"Token first", "Token second"}


async def test_what_a_source_says_of_its_own_goes_to_its_own_alone(stage: World, upstream: StandIn) -> None:
    async with standing_in(stage.clock.now) as other:
        own = {"url": other.url, "authorization": {"credentials": "hunter2"}}
        stage.config["sources"] = [{"name": "eu", "alertmanager": own}]
        await start(stage, upstream)
        assert (upstream.authorizations, other.authorizations) == ({None}, {"Bearer hunter2"})


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Its certificate is ca.pem, and the bridge's is client.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = authority.issue_cert("bridge")
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "client-key.pem"))
    return authority


@pytest.fixture
async def guarded(stage: World, authority: trustme.CA) -> AsyncIterator[StandIn]:
    """An Alertmanager that asks for a client certificate, and has one for another name than its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("alertmanager.internal").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with standing_in(stage.clock.now, ssl_context=context) as one:
        yield one


PAIR = {"cert_file": "client.pem", "key_file": "client-key.pem"}
NAMED = {"ca_file": "ca.pem", "server_name": "alertmanager.internal"}


@pytest.mark.parametrize(
    "tls", [PAIR | NAMED, PAIR | {"insecure_skip_verify": "true"}], ids=["verified", "not verified"]
)
async def test_a_client_certificate_opens_the_door(stage: World, guarded: StandIn, tls: Any) -> None:
    await start(stage, guarded, tls_config=tls)
    assert not await unreachable(stage)
    assert guarded.asked("GET status")


@pytest.mark.parametrize(
    "tls", [NAMED, PAIR | {"ca_file": "ca.pem"}, PAIR], ids=["no certificate", "another name", "no authority"]
)
async def test_without_all_of_it_the_door_stays_shut(stage: World, guarded: StandIn, tls: Any) -> None:
    with capture_logs() as logs:
        await start(stage, guarded, tls_config=tls)
    assert await unreachable(stage)
    (why,) = [line["problem"] for line in logs if line["log_level"] == "warning"]
    assert why.startswith("it cannot be reached: ")
    assert "s3cret" not in repr(logs)


async def test_a_renewed_certificate_counts_from_the_reload_on(stage: World, guarded: StandIn) -> None:
    stranger = trustme.CA().issue_cert("bridge")
    known = [(stage.folder / name).read_bytes() for name in PAIR.values()]
    stranger.cert_chain_pems[0].write_to_path(str(stage.folder / PAIR["cert_file"]))
    stranger.private_key_pem.write_to_path(str(stage.folder / PAIR["key_file"]))
    await start(stage, guarded, tls_config=PAIR | NAMED)
    assert await unreachable(stage)
    for name, content in zip(PAIR.values(), known, strict=True):
        (stage.folder / name).write_bytes(content)
    await stage.reload()
    assert not await unreachable(stage)
