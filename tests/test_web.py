"""The management listener's door, with real servers, real clients and certificates made for the test."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from bridge.web import (
    Identity,
    Refused,
    WebConfig,
    WebConfigError,
    check_bearer,
    identity,
    protect,
)
from bridge.web import credentials as credentials_module
from bridge.web.live import Bucket
from bridge.web.settings import RateLimit

PASSWORD = "correct horse"
TOKEN = "a-bearer-token-of-some-length"


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


ALICE = f"basic_auth_users:\n  alice: {hashed(PASSWORD)}\n"
BEARER = f"authorization:\n  type: Bearer\n  credentials: {TOKEN}\n"


def replace(path: Path, text: str | bytes) -> None:
    """Swap a file as careful programs do: written aside, then renamed."""
    aside = path.with_name(path.name + ".new")
    aside.write_bytes(text.encode() if isinstance(text, str) else text)
    aside.replace(path)


@dataclass
class Secret:
    text: str

    def reveal(self) -> str:
        return self.text


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Door:
    """A running server behind a web configuration file."""

    config: WebConfig
    port: int
    file: Path
    refusals: list[tuple[str, Refused]]
    reloads: list[WebConfigError | None]
    identities: list[Identity] = field(default_factory=list)

    async def get(
        self,
        path: str = "/",
        *,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        user: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        if user:
            sent = base64.b64encode(":".join(user).encode()).decode()
            headers = {"Authorization": f"Basic {sent}"}
        scheme = "https" if tls else "http"
        connector = aiohttp.TCPConnector(ssl=tls or True, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(
                f"{scheme}://localhost:{self.port}{path}",
                headers=headers,
            ) as response,
        ):
            return Answer(response.status, response.headers, await response.json())

    async def bearer(self, token: str, path: str = "/") -> Answer:
        return await self.get(path, headers={"Authorization": f"Bearer {token}"})


Opener = Callable[..., Awaitable[Door]]


@pytest.fixture
async def open_door(tmp_path: Path) -> AsyncIterator[Opener]:
    runners: list[web.AppRunner] = []

    async def start(text: str, **options: Any) -> Door:
        file = tmp_path / "web.yml"
        replace(file, text)
        config = WebConfig.load(file)
        door = Door(config, 0, file, [], [])
        config.on_reload = door.reloads.append

        async def hello(request: web.Request) -> web.Response:
            door.identities.append(identity(request))
            return web.json_response({"hello": request.path})

        async def on_refused(request: web.Request, refused: Refused) -> bool:
            door.refusals.append((request.path, refused))
            return True

        app = web.Application()
        protect(app, config, exempt={"/-/healthy"}, **({"on_refused": on_refused} | options))
        app.router.add_route("*", "/{rest:.*}", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=config.ssl_context()).start()
        door.port = runner.addresses[0][1]
        return door

    yield start
    for runner in runners:
        await runner.cleanup()


# -- without credentials --


async def test_without_a_file_everybody_may_come_in_over_plain_http() -> None:
    config = WebConfig.load(None)
    assert config.ssl_context() is None
    config.refresh()
    config.reload()
    assert config.settings.users == {}


async def test_an_empty_file_asks_for_nothing_as_in_exporter_toolkit(open_door: Opener) -> None:
    door = await open_door("")
    assert (await door.get()).status == 200
    assert door.identities == [Identity("none")]


# -- basic --


async def test_the_right_password_lets_in_and_names_the_user(open_door: Opener) -> None:
    door = await open_door(ALICE)
    answer = await door.get(user=("alice", PASSWORD))
    assert answer.status == 200
    assert door.identities == [Identity("basic", "alice")]


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(open_door: Opener) -> None:
    door = await open_door(ALICE)
    wrong = await door.get(user=("alice", "wrong"))
    unknown = await door.get(user=("mallory", PASSWORD))
    assert wrong.status == unknown.status == 401
    assert wrong.body == unknown.body
    assert wrong.body["error"] == "the user name or the password is wrong"
    assert "basic_auth" in wrong.body["hint"]
    assert wrong.headers.getall("WWW-Authenticate") == ['Basic realm="pushkit-bridge", charset="UTF-8"']


async def test_an_unknown_user_costs_one_bcrypt_of_a_cost_that_is_in_use(
    open_door: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = await open_door(f"basic_auth_users:\n  alice: {hashed('a', 4)}\n  bob: {hashed('b', 5)}\n")
    costs: list[bytes] = []
    checkpw = bcrypt.checkpw

    def recording(password: bytes, hashed_password: bytes) -> bool:
        costs.append(hashed_password[4:6])
        return checkpw(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", recording)
    for name in ("eve", "eve", "mallory", "trent", "oscar"):
        assert (await door.get(user=(name, "x"))).status == 401
    assert len(costs) == 5
    assert set(costs) <= {b"04", b"05"}
    assert costs[0] == costs[1]


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
async def test_each_spelling_of_bcrypt_is_accepted(open_door: Opener, prefix: str) -> None:
    door = await open_door(f"basic_auth_users:\n  alice: {hashed(PASSWORD).replace('$2b$', prefix)}\n")
    assert (await door.get(user=("alice", PASSWORD))).status == 200


async def test_a_password_longer_than_bcrypt_reads_is_cut_as_htpasswd_cuts_it(open_door: Opener) -> None:
    door = await open_door(f"basic_auth_users:\n  alice: {hashed('x' * 72)}\n")
    assert (await door.get(user=("alice", "x" * 100))).status == 200


async def test_a_password_may_hold_colons_and_letters_beyond_ascii(open_door: Opener) -> None:
    door = await open_door(f"basic_auth_users:\n  zoë: {hashed('pä:ss:')}\n")
    assert (await door.get(user=("zoë", "pä:ss:"))).status == 200
    assert door.identities == [Identity("basic", "zoë")]


async def test_a_right_password_is_hashed_once_and_a_wrong_one_each_time(
    open_door: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = await open_door(ALICE)
    calls: list[bytes] = []
    checkpw = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda p, h: (calls.append(p), checkpw(p, h))[1])
    for _ in range(3):
        assert (await door.get(user=("alice", PASSWORD))).status == 200
    assert len(calls) == 1
    for _ in range(2):
        assert (await door.get(user=("alice", "wrong"))).status == 401
    assert len(calls) == 3


async def test_a_burst_of_the_same_question_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda p, _: (calls.append(p), True)[1])
    workers = credentials_module.Workers(at_once=1, queue=0)
    passwords = credentials_module.Passwords({"alice": hashed(PASSWORD).encode()}, workers)
    assert all(await asyncio.gather(*(passwords.check("alice", b"p") for _ in range(50))))
    assert len(calls) == 1


async def test_a_client_that_hangs_up_does_not_stop_the_check_that_others_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(_password: bytes, _hash: bytes) -> bool:
        loop.call_soon_threadsafe(begun.set)
        return release.wait()

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    passwords = credentials_module.Passwords({"alice": b"$2b$04$"}, credentials_module.Workers())
    gone, stays = (asyncio.create_task(passwords.check("alice", b"p")) for _ in range(2))
    await begun.wait()
    gone.cancel()
    release.set()
    assert await stays
    assert gone.cancelled()
    assert passwords._running == {}


async def test_a_flood_of_wrong_passwords_gets_503_and_those_already_known_pass(
    open_door: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = await open_door(ALICE)
    assert (await door.get(user=("alice", PASSWORD))).status == 200
    door.config._workers._room = 1
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stuck(_password: bytes, _hash: bytes) -> bool:
        loop.call_soon_threadsafe(begun.set)
        release.wait()
        return False

    monkeypatch.setattr(bcrypt, "checkpw", stuck)
    first = asyncio.create_task(door.get(user=("alice", "guess 1")))
    try:
        await begun.wait()
        second = await door.get(user=("alice", "guess 2"))
        known = await door.get(user=("alice", PASSWORD))
    finally:
        release.set()
    assert second.status == 503
    assert second.headers["Retry-After"] == "1"
    assert "WWW-Authenticate" not in second.headers
    assert known.status == 200
    assert (await first).status == 401
    assert [refused.status for _, refused in door.refusals] == [503, 401]


# -- bearer --


async def test_the_right_bearer_token_lets_in(open_door: Opener) -> None:
    door = await open_door(BEARER)
    assert (await door.bearer(TOKEN)).status == 200
    assert (await door.get(headers={"Authorization": f"bEARER   {TOKEN} "})).status == 200
    assert door.identities == [Identity("bearer")] * 2


async def test_a_wrong_bearer_token_is_an_invalid_token(open_door: Opener) -> None:
    door = await open_door(BEARER)
    answer = await door.bearer(TOKEN + "x")
    assert (answer.status, answer.body["error"]) == (401, "the bearer token is wrong")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="pushkit-bridge", error="invalid_token"'


async def test_a_bearer_token_can_stand_in_a_file_beside_the_configuration(
    open_door: Opener, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text(f"\n{TOKEN}\r\n")
    door = await open_door("authorization: {credentials_file: secrets/token}")
    assert (await door.bearer(TOKEN)).status == 200
    replace(tmp_path / "secrets" / "token", "another")
    assert (await door.bearer(TOKEN)).status == 401
    assert (await door.bearer("another")).status == 200


async def test_either_of_two_configured_schemes_suffices(open_door: Opener) -> None:
    door = await open_door(ALICE + BEARER)
    assert (await door.bearer(TOKEN)).status == 200
    assert (await door.get(user=("alice", PASSWORD))).status == 200
    answer = await door.get()
    assert answer.headers.getall("WWW-Authenticate") == [
        'Basic realm="pushkit-bridge", charset="UTF-8"',
        'Bearer realm="pushkit-bridge"',
    ]
    assert answer.body["hint"].count(" or ") == 1


# -- what is wrong with a header --


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, "no credentials were sent"),
        ("", "the Authorization header is empty"),
        ("Digest username=x", "this Authorization scheme is not accepted here"),
        (TOKEN, "the Authorization header is one word: a scheme without credentials, or the other way round"),
        (
            "Basic",
            "the Authorization header is one word: a scheme without credentials, or the other way round",
        ),
        ("Basic a=b", "the Basic credentials are not base64"),
        ("Basic ä", "the Basic credentials are not base64"),
        ("Basic YWxpY2U6eA", "the Basic credentials are not base64"),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), "the Basic credentials are not UTF-8"),
        ("Basic " + base64.b64encode(b"x:\xff").decode(), "the Basic credentials are not UTF-8"),
        (
            "Basic " + base64.b64encode(b"alice").decode(),
            "the Basic credentials hold no colon between user and password",
        ),
        ("Bearer x", "this Authorization scheme is not accepted here"),
    ],
)
async def test_each_fault_of_the_header_is_told_in_words(
    open_door: Opener, header: str | None, error: str
) -> None:
    door = await open_door(ALICE)
    answer = await door.get(headers={} if header is None else {"Authorization": header})
    assert answer.status == 401
    assert answer.body["error"] == error
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert door.identities == []


async def test_two_authorization_headers_are_refused(open_door: Opener) -> None:
    door = await open_door(BEARER)
    right = ("Authorization", f"Bearer {TOKEN}")
    answer = await door.get(headers=[right, ("Authorization", "Bearer x")])
    assert answer.body["error"] == "the Authorization header was sent more than once"


# -- the middleware --


async def test_exempt_paths_need_no_credentials_and_all_others_do(open_door: Opener) -> None:
    door = await open_door(BEARER)
    assert (await door.get("/-/healthy")).status == 200
    assert (await door.get("/-/healthy?x=1")).status == 200
    for path in ("/-/healthy/", "/-/healthyx", "//-/healthy", "/metrics", "/-/reload"):
        assert (await door.get(path)).status == 401, path


async def test_the_callback_hears_of_each_refusal(open_door: Opener) -> None:
    door = await open_door(BEARER)
    await door.get("/webhook")
    await door.bearer(TOKEN)
    assert [(path, refused.error) for path, refused in door.refusals] == [
        ("/webhook", "no credentials were sent")
    ]


@pytest.mark.parametrize("works", [True, False])
async def test_a_refusal_that_could_not_be_recorded_is_503_for_nobody_would_know_of_it(
    open_door: Opener, works: bool
) -> None:
    async def broken(_request: web.Request, _refused: Refused) -> bool:
        if works:
            return False
        raise RuntimeError("the store is gone")

    door = await open_door(BEARER, on_refused=broken)
    with capture_logs() as logs:
        assert (await door.get()).status == 503
    assert ("a refusal could not be recorded" in [entry["event"] for entry in logs]) is not works


async def test_a_source_with_its_own_secret_takes_that_and_not_the_listeners(open_door: Opener) -> None:
    def override(request: web.Request) -> Secret | None:
        return Secret("eu-secret") if request.path == "/webhook/eu" else None

    door = await open_door(BEARER, override=override)
    assert (await door.bearer("eu-secret", "/webhook/eu")).status == 200
    listeners = await door.bearer(TOKEN, "/webhook/eu")
    assert listeners.status == 401
    assert "credentials of this source" in listeners.body["hint"]
    assert (await door.get("/webhook/eu")).body["error"] == "no credentials were sent"
    assert (await door.bearer("eu-secret", "/webhook/us")).status == 401
    assert (await door.bearer(TOKEN, "/webhook/us")).status == 200


async def test_a_source_secret_holds_also_where_the_listener_asks_for_nothing(open_door: Opener) -> None:
    door = await open_door("{}", override=lambda _: Secret("eu-secret"))
    assert (await door.get()).status == 401
    assert (await door.bearer("eu-secret")).status == 200


@pytest.mark.parametrize(
    ("header", "secret", "right"),
    [
        ("Bearer s", "s", True),
        ("bearer s", "s", True),
        ("Bearer s2", "s", False),
        ("Bearer", "", False),
        ("Bearer x", "", False),
        ("Basic s", "s", False),
        (None, "s", False),
    ],
)
def test_check_bearer_takes_only_the_very_secret(header: str | None, secret: str, right: bool) -> None:
    from aiohttp.test_utils import make_mocked_request

    request = make_mocked_request("POST", "/", headers={} if header is None else {"Authorization": header})
    assert check_bearer(request, secret) is right


async def test_configured_headers_go_out_also_on_refusals_and_a_handlers_own_win(open_door: Opener) -> None:
    text = "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: '', "
    text += "X-Content-Type-Options: nosniff, Content-Security-Policy: default-src 'self'}}\n"
    door = await open_door(text + BEARER)
    for answer in (await door.get(), await door.bearer(TOKEN), await door.get("/-/healthy")):
        assert answer.headers["X-Frame-Options"] == "deny"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
        assert "X-XSS-Protection" not in answer.headers


async def test_over_the_rate_limit_is_503_since_alertmanager_would_drop_a_429(open_door: Opener) -> None:
    door = await open_door("rate_limit: {interval: 1h, burst: 2}")
    assert [(await door.get()).status for _ in range(3)] == [200, 200, 503]
    assert (await door.get("/-/healthy")).status == 200
    assert int((await door.get()).headers["Retry-After"]) > 3000


def test_the_bucket_fills_by_one_each_interval_and_holds_no_more_than_burst() -> None:
    now = [100.0]
    bucket = Bucket(RateLimit(interval=2.0, burst=2), lambda: now[0])
    assert [bucket.take(), bucket.take(), bucket.take()] == [0.0, 0.0, 2.0]
    now[0] += 1.5
    assert bucket.take() == 0.5
    now[0] += 100
    assert [bucket.take(), bucket.take(), bucket.take()] == [0.0, 0.0, 2.0]


async def test_no_credential_reaches_a_log_an_answer_or_a_repr(open_door: Opener) -> None:
    door = await open_door(ALICE + BEARER)
    secrets = [PASSWORD, TOKEN, "wrong-password", "wrong-token", hashed(PASSWORD)[:10]]
    secrets += [base64.b64encode(b"alice:wrong-password").decode()]
    with capture_logs() as logs:
        answers = [
            await door.get(user=("alice", PASSWORD)),
            await door.get(user=("alice", "wrong-password")),
            await door.bearer("wrong-token"),
            await door.get(headers={"Authorization": "wrong-token"}),
            await door.bearer(TOKEN),
        ]
        replace(door.file, ALICE.replace("$2b$", "$2x$") + BEARER.replace("Bearer", "Bear"))
        await door.bearer(TOKEN)
    said = repr(logs) + repr([(a.body, dict(a.headers)) for a in answers]) + repr(door.refusals)
    said += repr(door.config.settings) + str(door.reloads[0])
    assert [secret for secret in secrets if secret in said] == []
    assert [a.status for a in answers] == [200, 401, 401, 401, 200]


# -- re-reading --


async def test_a_changed_password_counts_from_the_next_request_on(open_door: Opener) -> None:
    door = await open_door(ALICE)
    assert (await door.get(user=("alice", PASSWORD))).status == 200
    replace(door.file, f"basic_auth_users: {{alice: {hashed('new')}}}")
    assert (await door.get(user=("alice", PASSWORD))).status == 401
    assert (await door.get(user=("alice", "new"))).status == 200
    assert door.reloads == [None]


async def test_a_file_rewritten_in_place_at_once_and_at_the_same_size_is_noticed(open_door: Opener) -> None:
    door = await open_door(BEARER)
    for number in range(30):
        token = f"token-{number:02}"
        door.file.write_text(f"authorization: {{credentials: {token}}}")
        door.config.refresh()
        assert door.config.settings.bearer == token


async def test_a_touched_file_is_not_read_as_a_change(open_door: Opener) -> None:
    door = await open_door(BEARER)
    os.utime(door.file, (1, 1))
    replace(door.file, BEARER)
    door.config.refresh()
    assert door.reloads == []


async def test_a_bad_new_file_leaves_the_old_one_in_force_and_says_so_once(open_door: Opener) -> None:
    door = await open_door(BEARER)
    with capture_logs() as logs:
        replace(door.file, "authorisation: {}")
        assert [(await door.bearer(TOKEN)).status for _ in range(3)] == [200, 200, 200]
        assert (await door.get()).status == 401
    told = [entry for entry in logs if entry["log_level"] == "error"]
    assert len(told) == 1
    assert told[0]["problems"] == [
        f'{door.file}:1:1: authorisation: unknown key, did you mean "authorization"?'
    ]
    assert [type(reload) for reload in door.reloads] == [WebConfigError]
    replace(door.file, BEARER.replace(TOKEN, "mended"))
    assert (await door.bearer("mended")).status == 200
    assert door.reloads[1:] == [None]


async def test_a_named_file_that_appears_later_mends_a_bad_reload(open_door: Opener, tmp_path: Path) -> None:
    door = await open_door(BEARER)
    replace(door.file, "authorization: {credentials_file: later}")
    assert (await door.bearer(TOKEN)).status == 200
    replace(tmp_path / "later", "late-token")
    assert (await door.bearer("late-token")).status == 200
    assert [reload is None for reload in door.reloads] == [False, True]


async def test_a_file_that_is_gone_or_empty_for_a_moment_opens_no_door(open_door: Opener) -> None:
    door = await open_door(BEARER)
    door.file.write_text("")
    assert (await door.get()).status == 401
    door.file.unlink()
    assert (await door.get()).status == 401
    assert "half-written" in str(door.reloads[0])
    assert "cannot be read" in str(door.reloads[1])
    replace(door.file, "{}")
    assert (await door.get()).status == 200


async def test_reload_raises_for_a_bad_file_so_that_its_caller_can_answer_500(open_door: Opener) -> None:
    door = await open_door(BEARER)
    replace(door.file, "- 1")
    with pytest.raises(WebConfigError, match="must be a mapping"):
        door.config.reload()
    assert (await door.bearer(TOKEN)).status == 200


async def test_kubernetes_symlink_swap_is_noticed(open_door: Opener, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    (tmp_path / "data").symlink_to("one")
    door = await open_door("authorization: {credentials_file: data/token}")
    assert (await door.bearer("one")).status == 200
    (tmp_path / "data.new").symlink_to("two")
    (tmp_path / "data.new").rename(tmp_path / "data")
    assert (await door.bearer("two")).status == 200


# -- TLS --


@dataclass
class Pki:
    ca: trustme.CA
    folder: Path

    def write(self, *names: str) -> trustme.LeafCert:
        """Write a new server certificate as server.pem and server.key, and the CA as ca.pem."""
        leaf = self.ca.issue_cert(*(names or ("localhost",)))
        replace(self.folder / "server.pem", b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        replace(self.folder / "server.key", leaf.private_key_pem.bytes())
        replace(self.folder / "ca.pem", self.ca.cert_pem.bytes())
        return leaf

    def client(
        self, issuer: trustme.CA | None = None, name: str = "alertmanager.example", version: int | None = None
    ) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if issuer is not None:
            issuer.issue_cert(name).configure_cert(context)
        if version is not None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion(version)
        return context


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def stranger() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pki(authority: trustme.CA, tmp_path: Path) -> Pki:
    made = Pki(authority, tmp_path)
    made.write()
    return made


SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
CLIENTS = SERVER + "  client_ca_file: ca.pem\n  client_auth_type: "
BOTH_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


async def seen_certificate(door: Door, context: ssl.SSLContext) -> bytes:
    _, writer = await asyncio.open_connection(
        "localhost", door.port, ssl=context, server_hostname="localhost"
    )
    peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return bytes(peer)


async def test_tls_serves_with_files_beside_the_configuration(open_door: Opener, pki: Pki) -> None:
    door = await open_door(SERVER + ALICE)
    assert (await door.get(user=("alice", PASSWORD), tls=pki.client())).status == 200
    assert (await door.get(tls=pki.client())).status == 401


async def test_certificate_and_key_may_stand_in_the_file_itself(open_door: Opener, pki: Pki) -> None:
    def inline(name: str) -> str:
        return "    " + (pki.folder / name).read_text().replace("\n", "\n    ") + "\n"

    text = f"tls_server_config:\n  cert: |\n{inline('server.pem')}  key: |\n{inline('server.key')}"
    text += f"  client_ca: |\n{inline('ca.pem')}  client_auth_type: VerifyClientCertIfGiven\n"
    door = await open_door(text)
    assert (await door.get(tls=pki.client())).status == 200
    assert (await door.get(tls=pki.client(pki.ca))).status == 200


async def test_a_renewed_certificate_is_shown_at_the_next_handshake(open_door: Opener, pki: Pki) -> None:
    door = await open_door(SERVER)
    old = await seen_certificate(door, pki.client())
    pki.write()
    new = await seen_certificate(door, pki.client())
    assert old != new
    assert new == ssl.PEM_cert_to_DER_cert(
        (pki.folder / "server.pem").read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"
    )


async def test_a_half_renewed_pair_keeps_the_old_one_until_both_are_there(
    open_door: Opener, pki: Pki
) -> None:
    door = await open_door(SERVER)
    old = await seen_certificate(door, pki.client())
    leaf = pki.ca.issue_cert("localhost")
    replace(pki.folder / "server.pem", leaf.cert_chain_pems[0].bytes())
    assert await seen_certificate(door, pki.client()) == old
    assert "do not belong together" in str(door.reloads[0])
    replace(pki.folder / "server.key", leaf.private_key_pem.bytes())
    assert await seen_certificate(door, pki.client()) != old
    assert door.reloads[1:] == [None]


async def test_without_client_auth_type_no_client_certificate_is_asked_for(
    open_door: Opener, pki: Pki, stranger: trustme.CA
) -> None:
    door = await open_door(SERVER + "  client_auth_type: NoClientCert\n")
    assert (await door.get(tls=pki.client(stranger))).status == 200
    assert door.identities == [Identity("none")]


@pytest.mark.parametrize("version", BOTH_VERSIONS)
async def test_require_and_verify_lets_in_only_certificates_of_the_client_ca(
    open_door: Opener, pki: Pki, stranger: trustme.CA, version: int
) -> None:
    door = await open_door(CLIENTS + "RequireAndVerifyClientCert\n")
    assert (await door.get(tls=pki.client(pki.ca, version=version))).status == 200
    assert door.identities == [Identity("certificate", "alertmanager.example")]
    for wrong in (pki.client(version=version), pki.client(stranger, version=version)):
        with pytest.raises(aiohttp.ClientError):
            await door.get(tls=wrong)


@pytest.mark.parametrize("version", BOTH_VERSIONS)
async def test_verify_if_given_lets_in_without_one_but_not_with_a_strangers(
    open_door: Opener, pki: Pki, stranger: trustme.CA, version: int
) -> None:
    door = await open_door(CLIENTS + "VerifyClientCertIfGiven\n")
    assert (await door.get(tls=pki.client(version=version))).status == 200
    assert (await door.get(tls=pki.client(pki.ca, version=version))).status == 200
    assert [found.scheme for found in door.identities] == ["none", "certificate"]
    with pytest.raises(aiohttp.ClientError):
        await door.get(tls=pki.client(stranger, version=version))


async def test_verify_if_given_without_a_client_ca_asks_the_systems_own(
    open_door: Opener, pki: Pki, stranger: trustme.CA
) -> None:
    door = await open_door(SERVER + "  client_auth_type: VerifyClientCertIfGiven\n")
    assert (await door.get(tls=pki.client())).status == 200
    with pytest.raises(aiohttp.ClientError):
        await door.get(tls=pki.client(stranger))


@pytest.mark.parametrize("kind", ["RequestClientCert", "RequireAnyClientCert", "RequireClientCert"])
async def test_kinds_that_let_in_unverified_certificates_are_refused_with_a_reason(
    pki: Pki, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "web.yml").write_text(CLIENTS + kind + "\n")
    with pytest.raises(WebConfigError, match=f"web.yml:5:21: .*{kind} cannot be honoured") as caught:
        WebConfig.load(tmp_path / "web.yml")
    assert len(caught.value.problems) == 1


async def test_a_client_certificate_does_not_replace_configured_credentials(
    open_door: Opener, pki: Pki
) -> None:
    door = await open_door(CLIENTS + "RequireAndVerifyClientCert\n" + ALICE)
    assert (await door.get(tls=pki.client(pki.ca))).status == 401
    assert (await door.get(tls=pki.client(pki.ca), user=("alice", PASSWORD))).status == 200


@pytest.mark.parametrize("version", BOTH_VERSIONS)
async def test_only_allowed_names_of_a_verified_certificate_come_in(
    open_door: Opener, pki: Pki, version: int
) -> None:
    text = CLIENTS + "RequireAndVerifyClientCert\n  client_allowed_sans: [am.example, '::1', x@y.example]\n"
    door = await open_door(text)
    for name in ("am.example", "::1", "x@y.example"):
        assert (await door.get(tls=pki.client(pki.ca, name, version))).status == 200, name
    assert [found.name for found in door.identities] == ["am.example", "::1", "x@y.example"]
    with capture_logs() as logs, pytest.raises(aiohttp.ClientError):
        await door.get(tls=pki.client(pki.ca, "other.example", version))
    # The client tries a GET again by itself.
    assert {name for entry in logs for name in entry.get("names", [])} == {"other.example"}
    assert len(door.identities) == 3


async def test_a_changed_client_ca_counts_from_the_next_handshake_on(
    open_door: Opener, pki: Pki, stranger: trustme.CA
) -> None:
    door = await open_door(CLIENTS + "RequireAndVerifyClientCert\n")
    old, new = pki.client(pki.ca), pki.client(stranger)
    assert (await door.get(tls=old)).status == 200
    replace(pki.folder / "ca.pem", stranger.cert_pem.bytes())
    assert (await door.get(tls=new)).status == 200
    with pytest.raises(aiohttp.ClientError):
        await door.get(tls=old)


@pytest.mark.parametrize("version", BOTH_VERSIONS)
async def test_a_session_begun_under_the_old_client_ca_cannot_be_resumed(
    open_door: Opener, pki: Pki, stranger: trustme.CA, version: int
) -> None:
    door = await open_door(CLIENTS + "RequireAndVerifyClientCert\n")
    context = pki.client(pki.ca, version=version)

    def visit(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", door.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if not secure.recv(12).endswith(b" 200"):
                raise ConnectionError
            return bool(secure.session_reused), secure.session

    _, session = await asyncio.to_thread(visit, None)
    resumed, session = await asyncio.to_thread(visit, session)
    assert resumed
    replace(pki.folder / "ca.pem", stranger.cert_pem.bytes())
    with pytest.raises(OSError):  # noqa: PT011 - an alert or a closed connection, as the TLS version has it
        await asyncio.to_thread(visit, session)


async def test_client_verification_can_be_turned_on_while_the_server_runs(
    open_door: Opener, pki: Pki
) -> None:
    door = await open_door(SERVER)
    assert (await door.get(tls=pki.client())).status == 200
    replace(door.file, CLIENTS + "RequireAndVerifyClientCert\n")
    with pytest.raises(aiohttp.ClientError):
        await door.get(tls=pki.client())
    assert (await door.get(tls=pki.client(pki.ca))).status == 200


async def test_turning_tls_on_or_off_takes_a_restart_and_says_so(open_door: Opener, pki: Pki) -> None:
    door = await open_door(SERVER)
    replace(door.file, BEARER)
    assert (await door.get(tls=pki.client())).status == 200
    assert "takes a restart" in str(door.reloads[0])


async def test_versions_ciphers_and_curve_are_those_of_the_file(open_door: Opener, pki: Pki) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    text = f"  max_version: TLS12\n  cipher_suites: [{suite}]\n  curve_preferences: [CurveP384]\n"
    door = await open_door(SERVER + text + "  prefer_server_cipher_suites: false\n")

    async def handshake(context: ssl.SSLContext) -> tuple[str, str]:
        _, writer = await asyncio.open_connection("localhost", door.port, ssl=context)
        found = writer.get_extra_info("ssl_object")
        result = found.version(), found.cipher()[0]
        writer.close()
        await writer.wait_closed()
        return result

    version, cipher = await handshake(pki.client())
    assert version == "TLSv1.2"
    assert cipher.endswith("-AES256-GCM-SHA384")
    wrong_curve = pki.client()
    wrong_curve.set_ecdh_curve("prime256v1")
    with pytest.raises(OSError):  # noqa: PT011 - as OpenSSL words it
        await handshake(wrong_curve)
    with pytest.raises(OSError):  # noqa: PT011 - as OpenSSL words it
        await handshake(pki.client(version=ssl.TLSVersion.TLSv1_3))
    replace(door.file, SERVER + "  min_version: TLS13\n  curve_preferences: [X25519]\n")
    assert (await handshake(pki.client()))[0] == "TLSv1.3"


async def test_a_key_under_a_passphrase_is_a_clear_error_and_asks_nobody(pki: Pki, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "server.key").write_bytes(sealed)
    (tmp_path / "web.yml").write_text(SERVER)
    with pytest.raises(WebConfigError, match=r"web.yml:3:13: tls_server_config.key_file: .*passphrase"):
        WebConfig.load(tmp_path / "web.yml")


# -- curl, as people try it --


async def curl(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "10", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_curl_with_user_and_ca_gets_in(open_door: Opener, pki: Pki) -> None:
    door = await open_door(SERVER + ALICE)
    url = f"https://localhost:{door.port}/x"
    ca = str(pki.folder / "ca.pem")
    assert await curl("--cacert", ca, "-u", f"alice:{PASSWORD}", url) == (0, '{"hello": "/x"}')
    code, out = await curl("--cacert", ca, "-u", "alice:wrong", "-w", " %{http_code}", url)
    assert code == 0
    assert out.endswith(
        'wrong", "hint": "in Alertmanager\'s http_config, set basic_auth (user and password)"} 401'
    )


async def test_curl_gets_in_with_a_client_certificate_and_without_one_the_log_says_why(
    open_door: Opener, pki: Pki
) -> None:
    door = await open_door(CLIENTS + "RequireAndVerifyClientCert\n")
    url, ca = f"https://localhost:{door.port}/", str(pki.folder / "ca.pem")
    with capture_logs() as logs:
        code, _ = await curl("--cacert", ca, url)
    assert code != 0
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("client certificate refused", "none was sent")
    ]
    leaf = pki.ca.issue_cert("am.example")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(pki.folder / "client.pem"))
    code, out = await curl("--cacert", ca, "--cert", str(pki.folder / "client.pem"), url)
    assert code == 0, out
