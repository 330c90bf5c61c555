"""Who may look at the console and who may act there; that an act was asked for by a page of ours."""

import ssl

import aiohttp
import pytest
import trustme
from appworld import World
from consoles import PAGES, Visitor, basic, start

USER = "X-Forwarded-User"


async def told(world: World, page: str, **headers: str) -> str:
    """How an incident stands, and what its timeline holds."""
    story = (await world.get(f"/api/v1{page}", headers=headers)).json
    return (
        story["state"] + " " + "; ".join(f"{event['kind']}: {event['text']}" for event in story["timeline"])
    )


# --- roles ------------------------------------------------------------------------------------


async def test_without_any_rule_whoever_gets_in_may_act(stage: World) -> None:
    page = await start(stage)
    done = await Visitor(stage).act(page, f"{page}/acknowledge")
    assert (done.status, done.headers["Location"]) == (303, f"{page}?done=acknowledge")
    assert (await told(stage, page)).startswith("acknowledged ")
    assert "no phone rings for it any more" in (await stage.get(done.headers["Location"])).text


async def test_an_operator_s_name_goes_into_the_timeline(stage: World) -> None:
    page = await start(stage, users=True, operators=["carol"])
    carol = Visitor(stage, **basic("carol"))
    assert (await carol.act(page, f"{page}/acknowledge")).status == 303
    assert "acknowledged: by carol" in await told(stage, page, **basic("carol"))


async def test_a_viewer_sees_everything_and_can_do_nothing(stage: World) -> None:
    page = await start(stage, users=True, operators=["carol"])
    dave, carol = Visitor(stage, **basic("dave")), Visitor(stage, **basic("carol"))
    for path in (*PAGES, page):
        shown = await dave.get(path)
        assert shown.status == 200
        assert "read-only" in shown.text
        assert 'method="post"' not in shown.text
    token = await carol.token(page)
    for path in (f"{page}/acknowledge", f"{page}/note", "/phones/enrol", "/phones/alice-iphone/test"):
        refused = await dave.post(path, {"csrf": token, "text": "x", "owner": "alice"})
        assert refused.status == 403
        assert "ask an operator" in refused.text
    assert (await told(stage, page, **basic("carol"))).startswith("triggered ")


async def test_who_is_neither_operator_nor_viewer_sees_nothing(stage: World) -> None:
    page = await start(stage, users=True, operators=["carol"], viewers=["dave"])
    eve = Visitor(stage, **basic("eve"))
    for path in (*PAGES, page, "/live", f"/live{page}"):
        refused = await eve.get(path)
        assert refused.status == 403
        assert "DiskFull" not in refused.text
    assert (await Visitor(stage, **basic("dave")).get("/")).status == 200


async def test_without_credentials_a_browser_is_asked_for_them(stage: World) -> None:
    await start(stage, users=True)
    asked = await stage.get("/")
    assert asked.status == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic ")


async def test_a_client_certificate_says_who_acts(stage: World) -> None:
    ca = trustme.CA()
    server, client = ca.issue_cert("127.0.0.1"), ca.issue_cert(common_name="carol")
    server.private_key_and_cert_chain_pem.write_to_path(stage.folder / "server.pem")
    ca.cert_pem.write_to_path(stage.folder / "ca.pem")
    file = stage.folder / "web.yml"
    file.write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.pem, client_ca_file: ca.pem,"
        " client_auth_type: RequireAndVerifyClientCert}\n"
    )
    stage.options["web_config_file"] = file
    stage.config["console"] = {"operators": ["carol"], "viewers": []}
    await stage.start()
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    client.configure_cert(context)
    assert "read-only" not in (await stage.get("/", ssl=context)).text
    stranger = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    ca.issue_cert(common_name="eve").configure_cert(stranger)
    async with aiohttp.ClientSession() as session, session.get(stage.url + "/", ssl=stranger) as refused:
        assert refused.status == 403


# --- a trusted proxy --------------------------------------------------------------------------


async def test_a_trusted_proxy_says_who_acts(stage: World) -> None:
    page = await start(stage, operators=["carol"], trusted_proxies=["127.0.0.1"])
    carol = Visitor(stage, X_Forwarded_User="carol")
    assert (await carol.act(page, f"{page}/acknowledge")).status == 303
    assert "acknowledged: by carol" in await told(stage, page)
    assert "read-only" in (await Visitor(stage, X_Forwarded_User="dave").get("/")).text


async def test_from_elsewhere_the_header_counts_for_nothing(stage: World) -> None:
    await start(stage, operators=["carol"], trusted_proxies=["192.0.2.7"])
    refused = await stage.get("/", headers={USER: "carol"})
    assert refused.status == 403
    assert "through the proxy" in refused.text


@pytest.mark.parametrize("said", [[], [""], ["carol", "eve"], ["x" * 201]])
async def test_a_proxy_that_names_nobody_or_two_lets_nobody_in(stage: World, said: list[str]) -> None:
    await start(stage, operators=["carol"], trusted_proxies=["127.0.0.0/8"])
    refused = await stage.get("/", headers=[(USER, name) for name in said])
    assert refused.status == 403


async def test_a_trusted_proxy_s_word_opens_the_console_alone(stage: World) -> None:
    await start(stage, users=True, trusted_proxies=["127.0.0.1"])
    named = {USER: "carol"}
    assert (await stage.get("/", headers=named)).status == 200
    assert (await stage.get("/api/v1/incidents", headers=named)).status == 401
    assert (await stage.get("/metrics", headers=named)).status == 401
    assert (await stage.post("/webhook", stage.message(stage.alert()), headers=named)).status == 401


# --- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", "0" * 64, "\udcff"])
async def test_a_form_without_its_token_does_nothing(stage: World, token: str | None) -> None:
    page = await start(stage)
    visitor = Visitor(stage)
    await visitor.get(page)
    form = {} if token is None else {"csrf": token.encode("utf-8", "surrogateescape").decode("latin-1")}
    refused = await visitor.post(f"{page}/acknowledge", form)
    assert refused.status == 403
    assert "reload the page" in refused.text
    assert (await told(stage, page)).startswith("triggered ")


async def test_another_session_s_or_another_person_s_token_does_nothing(stage: World) -> None:
    page = await start(stage, users=True)
    carol, dave = (Visitor(stage, **basic(name)) for name in ("carol", "dave"))
    token = await carol.token(page)
    await dave.get(page)
    assert (await dave.post(f"{page}/acknowledge", {"csrf": token})).status == 403
    dave.cookie = carol.cookie
    assert (await dave.post(f"{page}/acknowledge", {"csrf": token})).status == 403
    carol.cookie = ""
    assert (await carol.post(f"{page}/acknowledge", {"csrf": token})).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_what_another_site_s_page_sends_does_nothing_at_the_console_or_the_api(
    stage: World, headers: dict[str, str]
) -> None:
    page = await start(stage)
    visitor = Visitor(stage)
    token = await visitor.token(page)
    assert (await visitor.post(f"{page}/acknowledge", {"csrf": token}, **headers)).status == 403
    assert (await stage.post(f"/api/v1{page}/acknowledge", headers=headers)).status == 403
    assert (await stage.post("/-/reload", headers=headers)).status == 403
    assert (await told(stage, page)).startswith("triggered ")


async def test_our_own_page_s_form_passes_with_what_a_browser_says(stage: World) -> None:
    page = await start(stage)
    visitor = Visitor(stage)
    token = await visitor.token(page)
    own = {"Origin": stage.url, "Sec-Fetch-Site": "same-origin"}
    assert (await visitor.post(f"{page}/note", {"csrf": token, "text": "one"}, **own)).status == 303
    del own["Sec-Fetch-Site"]
    assert (await visitor.post(f"{page}/note", {"csrf": token, "text": "two"}, **own)).status == 303


async def test_a_token_holds_over_a_restart(stage: World) -> None:
    stage.options["web_listen"] = (stage.phone_listen.rpartition(":")[0] + ":0",)
    page = await start(stage)
    visitor = Visitor(stage)
    token = await visitor.token(page)
    await stage.restart()
    assert (await visitor.post(f"{page}/acknowledge", {"csrf": token})).status == 303


async def test_the_session_s_cookie_is_for_this_site_and_no_script(stage: World) -> None:
    stage.options["web_route_prefix"] = "/pushkit"
    await stage.start()
    cookie = (await stage.get("/pushkit/")).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/pushkit" in cookie


# --- acts -------------------------------------------------------------------------------------


async def test_each_act_on_an_incident_is_done_under_the_actor_s_name(stage: World) -> None:
    page = await start(stage, trusted_proxies=["127.0.0.1"])
    carol = Visitor(stage, X_Forwarded_User="carol")
    acts = {
        "hand-on": "handed on: by carol to step 2",
        "acknowledge": "acknowledged: by carol",
        "unacknowledge": "unacknowledged: by carol",
        "silence": "silenced: by carol until",
        "note": "note: carol: looking into it",
    }
    for act, line in acts.items():
        done = await carol.act(page, f"{page}/{act}", minutes="30", text="looking into it")
        assert done.status == 303
        assert line in await told(stage, page)


@pytest.mark.parametrize(
    ("act", "form", "words"),
    [
        ("silence", {}, "from a minute to a week"),
        ("silence", {"minutes": "0"}, "from a minute to a week"),
        ("silence", {"minutes": "99999"}, "from a minute to a week"),
        ("silence", {"minutes": "²"}, "from a minute to a week"),
        ("note", {"text": " \n "}, "a note needs words"),
    ],
)
async def test_an_act_that_makes_no_sense_is_refused_in_words(
    stage: World, act: str, form: dict[str, str], words: str
) -> None:
    page = await start(stage)
    refused = await Visitor(stage).act(page, f"{page}/{act}", **form)
    assert refused.status == 400
    assert words in refused.text


async def test_an_act_on_what_is_not_there_is_a_404(stage: World) -> None:
    page = await start(stage)
    visitor = Visitor(stage)
    assert (await visitor.act(page, "/incidents/none/acknowledge")).status == 404
    assert (await visitor.act("/phones", "/phones/none/test")).status == 404
    assert (await visitor.act("/phones", "/phones/alice-iphone/revoke")).status == 404
    assert (await visitor.act("/phones", "/phones/enrol", owner="nobody")).status == 404


async def test_a_body_that_is_huge_or_no_form_is_refused(stage: World) -> None:
    page = await start(stage)
    visitor = Visitor(stage)
    assert (await visitor.post(f"{page}/note", {"text": "x" * 100_000})).status == 400
    assert (await stage.post(f"{page}/note", b"\xff\xfe")).status == 400


async def test_a_phone_is_enrolled_by_the_code_that_the_console_shows(stage: World) -> None:
    stage.config["devices"] = []
    page = await start(stage)
    assert page
    shown = await Visitor(stage).act("/phones", "/phones/enrol", owner="alice", device="alice-iphone")
    assert shown.status == 200
    assert "<svg" in shown.text
    code = shown.text.partition('class="code mono">')[2].partition("<")[0]
    await stage.sim.phone("alice").enrol(stage.bridge.bound.phone, code, again=0.01)
    listed = (await stage.get("/api/v1/devices")).json["devices"]
    assert [device["name"] for device in listed] == ["alice-iphone"]


@pytest.mark.parametrize(
    ("device", "status", "says"),
    [
        ("alice-iphone", 409, "stands under `devices` in the configuration: take it out there"),
        ("bob-iphone", 409, "the name of another device"),
        ("a\x00b", 400, "one line"),
        ("x" * 65, 400, "one line"),
    ],
)
async def test_a_name_that_no_phone_can_have_is_refused(
    stage: World, device: str, status: int, says: str
) -> None:
    await start(stage)
    refused = await Visitor(stage).act("/phones", "/phones/enrol", owner="alice", device=device)
    assert (refused.status, says in refused.text) == (status, True)


async def test_a_test_call_rings_that_phone_and_its_page_tells_of_it(home: World) -> None:
    done = await Visitor(home).act("/phones", "/phones/bob-iphone/test")
    await home.settled()
    assert len(home.rings("bob")) == 1
    assert home.rings("alice") == []
    page = (await home.get(done.headers["Location"])).text
    assert "The test call is on its way" in page
    assert "bob-iphone is to ring" in page


async def test_a_revoked_phone_is_gone(home: World) -> None:
    done = await Visitor(home).act("/phones", "/phones/bob-iphone/revoke")
    assert done.headers["Location"] == "/phones?done=revoke"
    assert "bob-iphone" not in (await home.get("/phones")).text


# --- where it is ------------------------------------------------------------------------------


async def test_below_a_prefix_every_link_form_and_stream_has_it(stage: World) -> None:
    stage.options["web_route_prefix"] = "/pushkit"
    await stage.start()
    posted = await stage.post("/pushkit/webhook", stage.message(stage.alert()))
    assert posted.status == 200
    await stage.settled()
    (one,) = (await stage.get("/pushkit/api/v1/incidents")).json["incidents"]
    page = f"/incidents/{one['id']}"
    visitor = Visitor(stage, "/pushkit")
    for path in (*PAGES, page):
        text = (await visitor.get(path)).text
        for attribute in ("href", "src", "action", "sse-connect"):
            found = [part.partition('"')[0] for part in text.split(f' {attribute}="')[1:]]
            ours = [target for target in found if target.startswith("/")]
            assert [target for target in ours if not target.startswith("/pushkit/")] == []
    done = await visitor.act(page, f"{page}/acknowledge")
    assert done.headers["Location"] == f"/pushkit{page}?done=acknowledge"


async def test_with_an_address_of_its_own_the_console_is_there_and_nothing_else(stage: World) -> None:
    stage.options["console_listen"] = "127.0.0.1:0"
    await stage.start()
    (url,) = stage.bridge.bound.console
    assert (await stage.get("/")).status == 404
    assert (await stage.ask("GET", f"{url}/")).status == 200
    assert (await stage.ask("GET", f"{url}/api/v1/incidents")).status == 404
    assert (await stage.ask("POST", f"{url}/webhook", stage.message(stage.alert()))).status == 404
