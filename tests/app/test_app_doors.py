"""Who comes in where: TLS on both listeners, and what the credentials of a source, a phone, an operator open."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from appworld import World
from handset import Handset
from structlog.testing import capture_logs

from bridge.config import ConfigError

MANAGEMENT = "the-token-of-management"
EU, US = "the-credentials-of-eu", "the-credentials-of-us"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- TLS --------------------------------------------------------------------------------------


def certify(folder: Path, authority: trustme.CA) -> str:
    leaf = authority.issue_cert("127.0.0.1")
    for name, data in (
        ("cert.pem", b"".join(one.bytes() for one in leaf.cert_chain_pems)),
        ("key.pem", leaf.private_key_pem.bytes()),
        ("tls.yaml", b"tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"),
    ):
        (folder / f"{name}.new").write_bytes(data)
        (folder / f"{name}.new").rename(folder / name)
    return leaf.cert_chain_pems[0].bytes().decode()


async def shown(url: str, context: ssl.SSLContext) -> bytes:
    """The certificate that a listener shows a new connection."""
    host, port = url.removeprefix("https://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(peer)


@pytest.fixture
async def encrypted(stage: World) -> tuple[World, trustme.CA, ssl.SSLContext]:
    authority = trustme.CA()
    certify(stage.folder, authority)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    stage.options |= {
        "web_config_file": stage.folder / "tls.yaml",
        "phone_config_file": stage.folder / "tls.yaml",
    }
    await stage.start()
    return stage, authority, context


async def test_a_renewed_certificate_is_shown_by_both_listeners_without_a_restart(
    encrypted: tuple[World, trustme.CA, ssl.SSLContext],
) -> None:
    world, authority, context = encrypted
    urls = (world.bridge.bound.web[0], world.bridge.bound.phone)
    assert all(url.startswith("https://") for url in urls)
    old = {await shown(url, context) for url in urls}
    new = ssl.PEM_cert_to_DER_cert(certify(world.folder, authority))
    assert old != {new}
    assert {await shown(url, context) for url in urls} == {new}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_neither_listener_speaks_tls_before_1_2(
    encrypted: tuple[World, trustme.CA, ssl.SSLContext], version: ssl.TLSVersion
) -> None:
    world, _, _ = encrypted
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    for url in (world.bridge.bound.web[0], world.bridge.bound.phone):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shown(url, old)


async def test_a_phone_enrols_and_speaks_over_tls(
    encrypted: tuple[World, trustme.CA, ssl.SSLContext],
) -> None:
    world, _, context = encrypted
    code = (await world.post("/api/v1/enrolments", params={"owner": "alice"}, ssl=context)).json["code"]
    url = f"{world.bridge.bound.phone}/api/v1"
    done = await world.ask("POST", f"{url}/enrol", f'{{"code": "{code}"}}', ssl=context)
    assert done.status == 201
    asked = await world.ask("GET", f"{url}/device", headers=bearer(done.json["credential"]), ssl=context)
    assert asked.status == 200


async def test_a_bad_certificate_at_a_reload_keeps_the_old_one_at_the_phones_too(
    encrypted: tuple[World, trustme.CA, ssl.SSLContext],
) -> None:
    world, _, context = encrypted
    before = await shown(world.bridge.bound.phone, context)
    (world.folder / "cert.pem").write_text("half-written")
    assert await shown(world.bridge.bound.phone, context) == before
    assert (await world.post("/-/reload", ssl=context)).status == 500


@pytest.mark.parametrize(
    "text",
    [
        "authorization: {credentials: x}",
        "rate_limit: {interval: 1s, burst: 1}",
        "http_server_config: {headers: {X-Frame-Options: deny}}",
        "basic_auth_users: {a: $2b$04$qC3fBX0gOVbhAO0ihkVxVeoqn2wrgSjxLL4sjJiCDmYiYjXdHmXtO}",
    ],
)
async def test_the_phones_listener_takes_nothing_but_tls_for_its_own_credentials_let_in(
    stage: World, text: str
) -> None:
    """Rule 9: client certificates and passwords of the web listener would lock the phones out."""
    (stage.folder / "phone.yaml").write_text(text)
    stage.options["phone_config_file"] = stage.folder / "phone.yaml"
    with pytest.raises(ConfigError, match="by their own credentials alone"):
        await stage.start()


# --- sources ----------------------------------------------------------------------------------


@pytest.fixture
async def tenants(stage: World) -> World:
    """Two sources with credentials of their own, behind a listener with others."""
    (stage.folder / "web.yaml").write_text(f"authorization: {{credentials: {MANAGEMENT}}}\n")
    stage.options["web_config_file"] = stage.folder / "web.yaml"
    stage.config["sources"] = [{"name": "eu", "credentials": EU}, {"name": "us", "credentials": US}]
    await stage.start()
    return stage


async def states(world: World) -> dict[str, str]:
    found = await world.get("/api/v1/incidents?all=true", headers=bearer(MANAGEMENT))
    return {one["source"]: one["state"] for one in found.json["incidents"]}


async def test_a_source_cannot_resolve_mention_or_join_anothers_alert(tenants: World) -> None:
    """The same labels and fingerprint from two sources are two alerts, in two incidents."""
    firing, resolved = tenants.alert(), tenants.alert(resolved=True)
    assert (await tenants.post("/webhook/eu", tenants.message(firing), headers=bearer(EU))).status == 200
    for alert in (resolved, resolved | {"endsAt": "2099-01-01T00:00:00Z"}):
        answer = await tenants.post("/webhook/us", tenants.message(alert), headers=bearer(US))
        assert answer.json["incidents"] == []
    assert await states(tenants) == {"eu": "triggered"}
    await tenants.post("/webhook/us", tenants.message(firing), headers=bearer(US))
    assert await states(tenants) == {"eu": "triggered", "us": "triggered"}
    await tenants.post("/webhook/us", tenants.message(resolved), headers=bearer(US))
    assert await states(tenants) == {"eu": "triggered", "us": "resolved"}
    body = tenants.message(resolved, groupKey="{}:{}", receiver="eu", source="eu")
    await tenants.post("/webhook/us", body, headers=bearer(US))
    assert (await states(tenants))["eu"] == "triggered", "nothing in a body names a source"


async def test_a_sources_answer_names_no_incident_of_another(tenants: World) -> None:
    eu = await tenants.post("/webhook/eu", tenants.message(tenants.alert()), headers=bearer(EU))
    us = await tenants.post("/webhook/us", tenants.message(tenants.alert()), headers=bearer(US))
    assert not set(eu.json["incidents"]) & set(us.json["incidents"])


@pytest.mark.parametrize("token", [EU, US, "none"])
async def test_a_sources_credentials_open_its_webhook_and_nothing_else(tenants: World, token: str) -> None:
    """Not another's webhook, not the default one; nothing is read, acknowledged, silenced, enrolled or reloaded."""
    sent = bearer(token)
    body = tenants.message(tenants.alert())
    await tenants.post("/webhook/eu", body, headers=bearer(EU))
    one = (await tenants.get("/api/v1/incidents", headers=bearer(MANAGEMENT))).json["incidents"][0]
    app = tenants.bridge
    paths = {
        ("POST", "/webhook"),
        ("POST", "/webhook/eu"),
        ("POST", "/webhook/us"),
        ("POST", "/webhook/none"),
    }
    paths |= {
        ("GET", path)
        for path in ("/metrics", "/api/v1/incidents", f"/api/v1/incidents/{one['id']}", "/api/v1/devices")
    }
    paths |= {
        ("POST", path)
        for path in (
            f"/api/v1/incidents/{one['id']}/acknowledge",
            "/-/reload",
            "/api/v1/enrolments?owner=alice",
        )
    }
    opened = {
        path
        for method, path in paths
        if (await tenants.ask(method, app.bound.web[0] + path, body, headers=sent)).status != 401
    }
    assert opened == {EU: {"/webhook/eu"}, US: {"/webhook/us"}, "none": set()}[token]
    handset = Handset(tenants, token)
    assert (await handset.get("/incidents")).status == 401
    assert (await states(tenants))["eu"] == "triggered"


async def test_every_route_of_the_web_listener_wants_credentials_but_the_two_probes(tenants: World) -> None:
    """Also those that are built tomorrow: the door stands before all of them."""
    from bridge import front

    assert set(front._OPEN) == {"/-/healthy", "/-/ready"}
    for path in (
        "/",
        "/console",
        "/api/v1/heartbeats",
        "/api/v1/tests",
        "/static/x",
        "/api/v1/silences",
        "/-/status",
    ):
        for method in ("GET", "POST", "PUT", "DELETE"):
            assert (await tenants.ask(method, tenants.url + path)).status == 401, (method, path)


async def test_a_phones_credential_and_the_web_listeners_do_not_open_each_others_doors(
    tenants: World,
) -> None:
    answer = await tenants.post("/api/v1/enrolments", params={"owner": "alice"}, headers=bearer(MANAGEMENT))
    url = f"{tenants.bridge.bound.phone}/api/v1"
    credential = (await tenants.ask("POST", f"{url}/enrol", f'{{"code": "{answer.json["code"]}"}}')).json[
        "credential"
    ]
    assert (await tenants.ask("GET", f"{url}/device", headers=bearer(credential))).status == 200
    assert (await tenants.ask("GET", f"{url}/device", headers=bearer(MANAGEMENT))).status == 401
    assert (await tenants.get("/api/v1/incidents", headers=bearer(credential))).status == 401


async def test_sources_with_credentials_on_an_open_listener_are_a_warning(stage: World) -> None:
    """Whoever reaches it could read and acknowledge what those credentials guard."""
    stage.config["sources"] = [{"name": "eu", "credentials": EU}]
    with capture_logs() as logs:
        await stage.start()
    assert "the management API is open to everybody" in " ".join(one["event"] for one in logs)
