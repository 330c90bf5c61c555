"""How the commands get in: a private CA, a client certificate, a token file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme
from appworld import World
from commands import ask, run

CLIENTS = ", client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"


def certificates(folder: Path, *, clients: bool) -> None:
    """Write the CA, the client's and a web configuration that asks for the latter, if it is to."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "web.pem"))
    client = authority.issue_cert("carol@example.com")
    client.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    client.private_key_pem.write_to_path(str(folder / "key.pem"))
    client.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    tls = f"{{cert_file: web.pem, key_file: web.pem{CLIENTS if clients else ''}}}"
    (folder / "web.yaml").write_text(f"tls_server_config: {tls}\n")


async def serve(stage: World, *, clients: bool) -> None:
    certificates(stage.folder, clients=clients)
    stage.options["web_config_file"] = stage.folder / "web.yaml"
    await stage.start()
    assert stage.url.startswith("https://")


async def checked(stage: World, *arguments: str, **options: object) -> int:
    """Run healthcheck, and give its exit code."""
    result = await asyncio.to_thread(
        run, "healthcheck", f"--url={stage.url}/-/healthy", *arguments, **options
    )
    return result.exit_code


@pytest.mark.parametrize(
    "command",
    [["incidents", "list"], ["devices", "list"], ["oncall", "show"]],
    ids=" ".join,
)
async def test_a_private_ca_opens_the_door_and_without_it_the_commands_stay_outside(
    stage: World, command: list[str]
) -> None:
    await serve(stage, clients=False)
    ca = str(stage.folder / "ca.pem")
    assert (await ask(stage, *command, f"--bridge.ca-file={ca}")).exit_code == 0
    assert (await ask(stage, *command, env={"PUSHKIT_BRIDGE_CA_FILE": ca})).exit_code == 0
    refused = await ask(stage, *command)
    assert (refused.exit_code, "CERTIFICATE_VERIFY_FAILED" in refused.stderr) == (1, True)
    assert await checked(stage, f"--ca-file={ca}") == 0
    assert await checked(stage, env={"PUSHKIT_BRIDGE_CA_FILE": ca}) == 0
    assert await checked(stage) == 1


async def test_a_client_certificate_opens_the_door_that_asks_for_one(stage: World) -> None:
    await serve(stage, clients=True)
    ca, cert, key, both = (str(stage.folder / f"{name}.pem") for name in ("ca", "cert", "key", "both"))
    known = f"--bridge.ca-file={ca}"
    for own in ([f"--bridge.cert-file={both}"], [f"--bridge.cert-file={cert}", f"--bridge.key-file={key}"]):
        result = await ask(stage, "incidents", "list", known, *own)
        assert (result.exit_code, result.stdout) == (0, "no open incidents\n")
    environment = {
        "PUSHKIT_BRIDGE_CA_FILE": ca,
        "PUSHKIT_BRIDGE_CERT_FILE": cert,
        "PUSHKIT_BRIDGE_KEY_FILE": key,
    }
    assert (await ask(stage, "incidents", "list", env=environment)).exit_code == 0
    assert await checked(stage, env=environment) == 0
    assert await checked(stage, f"--ca-file={ca}", f"--cert-file={cert}", f"--key-file={key}") == 0
    assert await checked(stage, f"--ca-file={ca}") == 1
    refused = await ask(stage, "incidents", "list", known)
    assert (refused.exit_code, "cannot reach the bridge" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--bridge.ca-file={}/none.pem"], "none.pem as a CA"),
        (["--bridge.ca-file={}/web.yaml"], "web.yaml as a CA"),
        (["--bridge.cert-file={}/none.pem"], "none.pem as a client certificate"),
        (["--bridge.cert-file={}/cert.pem"], "cert.pem as a client certificate"),
        (["--bridge.cert-file={0}/cert.pem", "--bridge.key-file={0}/web.pem"], "web.pem as a client"),
        (["--bridge.key-file={}/key.pem"], "needs its certificate"),
        (["--bridge.ca-file={}/ca.pem", "--bridge.url=http://127.0.0.1:1"], "needs https://"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_a_clear_error(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    certificates(tmp_path, clients=False)
    given = [argument.format(tmp_path) for argument in arguments]
    result = run("incidents", "list", "--bridge.url=https://127.0.0.1:1", *given)
    assert result.exit_code == 1
    assert says in result.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot read"), (b"", "token alone"), (b"a\nb", "token alone"), (b"\xff", "cannot read")],
    ids=["missing", "empty", "two lines", "no UTF-8"],
)
def test_a_token_file_that_cannot_be_used_is_a_clear_error(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    result = run("incidents", "list", f"--bridge.token-file={file}")
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_token_file_and_a_password_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-bearer-token")
    result = run(
        "incidents", "list", f"--bridge.token-file={tmp_path / 'token'}", "--bridge.url=http://a:b@h"
    )
    assert (result.exit_code, "either" in result.stderr) == (1, True)


async def test_a_health_check_of_a_container_needs_no_flags(stage: World) -> None:
    """The image's HEALTHCHECK has none; only the environment can say that the listener has TLS."""
    await serve(stage, clients=False)
    ca = {"PUSHKIT_BRIDGE_CA_FILE": str(stage.folder / "ca.pem")}
    url = {"PUSHKIT_BRIDGE_HEALTH_URL": f"{stage.url}/-/healthy"}
    exits = [
        (await asyncio.to_thread(run, "healthcheck", env=environment)).exit_code
        for environment in (ca | url, url)
    ]
    assert exits == [0, 1]
