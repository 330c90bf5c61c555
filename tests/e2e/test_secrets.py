"""All that real programs print, log, answer and store in a run where much goes wrong, searched for every secret."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
import yaml

from bridge.rig import PROGRAM, Rig
from bridge.simulator import Answer

from .scene import configure, notification, scene

pytestmark = pytest.mark.real

PASSWORD, BEARER = "s3cret-Passw0rd-of-carol", "s3cret-bearer-of-management"
EU, US = "s3cret-credentials-of-eu", "s3cret-credentials-of-us"
HOOK, CALENDAR, HEARTBEAT = "s3cret-path-of-a-hook", "s3cret-path-of-a-calendar", "s3cret-path-of-a-heartbeat"
WRONG = ("s3cret-wrong-bearer", "s3cret-wrong-password", "s3cret-wrong-device", "S3CR-TWRG-CODE")


class Heard:
    """Everything that somebody could read, by where it was read."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def leaks(self, secrets: Sequence[str]) -> list[tuple[str, str]]:
        return [
            (place, secret)
            for place, text in self.texts.items()
            for secret in secrets
            if secret.lower() in text.lower()
        ]

    async def command(self, *arguments: str) -> None:
        """Keep what a command prints, whether it fails or not."""
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        self.texts[f"{' '.join(arguments[:3])} {len(self.texts)}"] = said.decode()

    async def ask(self, session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> bytes:
        """Keep an answer, its headers too."""
        async with session.request(method, url, **options) as response:
            body = await response.read()
            self.texts[f"{method} {url} {len(self.texts)}"] = f"{response.status} {response.headers} {body!r}"
            return body


def prepare(rig: Rig) -> None:
    """Give the configuration every kind of secret that it can hold, in files and in place."""
    config = yaml.safe_load(rig.config.read_text())
    config["sources"] = [
        {"name": "eu", "credentials": EU},
        {"name": "us", "credentials_file": str(rig.folder / "us")},
    ]
    (rig.folder / "us").write_text(US)
    config["receivers"][0]["escalation"][0]["webhooks"] = [{"url": f"http://127.0.0.1:1/{HOOK}"}]
    config["schedules"] = [{"name": "primary", "ical_url": f"http://127.0.0.1:1/{CALENDAR}"}]
    config["device_groups"].append({"name": "on-call", "schedules": ["primary"]})
    config["templates"] = {"reason": "{{ labels.nothing.more }}"}
    rig.config.write_text(yaml.safe_dump(config))
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (rig.folder / "bearer").write_text(BEARER)
    web = {"basic_auth_users": {"carol": hashed}, "authorization": {"credentials_file": "bearer"}}
    (rig.folder / "web.yaml").write_text(yaml.safe_dump(web))


async def serve(rig: Rig, form: str) -> None:
    address = rig.bridge_url.removeprefix("http://")
    flags = (
        *(f"--config.file={rig.config}", f"--web.config.file={rig.folder / 'web.yaml'}"),
        *(f"--web.listen-address={address}", f"--phone.listen-address={rig.phone_address}"),
        *(f"--heartbeat.url=http://127.0.0.1:1/{HEARTBEAT}", "--log.level=debug", f"--log.format={form}"),
    )
    await rig.start("bridge", *PROGRAM, "serve", *flags, url=rig.bridge_url)
    await rig.ready()


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_secret_is_in_anything_that_a_full_run_prints_answers_or_need_not_store(
    tmp_path: Path, form: str
) -> None:
    ring = {"every": "2s", "for": "1s", "times": 2}
    heard = Heard()
    async with scene(tmp_path, configure(tmp_path, {"alice": "db", "bob": "web"}, ring)) as rig:
        prepare(rig)
        await serve(rig, form)
        secrets = await play(rig, heard)
        ledger = b"".join(path.read_bytes() for path in rig.folder.glob("bridge.db*")).decode("latin-1")
        heard.texts["the bridge's log"] = rig.running["bridge"].log.read_text()
        assert "Traceback" in heard.texts["the bridge's log"]
        assert len(heard.texts) > 30
        assert heard.leaks(["DiskFull", "alice"]), "the search finds what is there"
        assert heard.leaks([*secrets, *secrets_of_phones(rig)]) == []
        # What the ledger must be able to send is in it: push tokens, the provider token, its own signing secret.
        assert [secret for secret in secrets if secret.lower() in ledger.lower()] == []
        assert await rig.running["bridge"].stop() == 0


def secrets_of_phones(rig: Rig) -> list[str]:
    found = Path(rig.simulator.key_file).read_text().splitlines()[1:-1]
    for phone in rig.simulator.phones:
        found += [phone.profile.voip_token, phone.profile.alert_token]
        found += [push.payload["call"]["receipt_token"] for push in phone.pushes.items]
    return found


async def play(rig: Rig, heard: Heard) -> list[str]:
    """A full run: alerts, rings, an enrolment, wrong credentials everywhere, faults; gives its secrets."""
    web, phones = rig.bridge_url, f"http://{rig.phone_address}/api/v1"
    basic = base64.b64encode(f"carol:{PASSWORD}".encode()).decode()
    right = {"Authorization": f"Bearer {BEARER}"}
    secrets = [PASSWORD, BEARER, EU, US, HOOK, CALENDAR, HEARTBEAT, *WRONG, basic]
    rig.simulator.phone("bob-iphone").answer_next(Answer(400, "BadDeviceToken"))
    async with aiohttp.ClientSession() as session:
        body = notification("DiskFull", "db")
        for path, token in (
            ("", BEARER),
            ("/eu", EU),
            ("/us", US),
            ("", WRONG[0]),
            ("/eu", US),
            ("/none", BEARER),
        ):
            sent = {"Authorization": f"Bearer {token}"}
            await heard.ask(session, "POST", f"{web}/webhook{path}", json=body, headers=sent)
        wrong = base64.b64encode(f"carol:{WRONG[1]}".encode()).decode()
        secrets.append(wrong)
        for value in (f"Basic {wrong}", f"Basic {basic}", WRONG[0], f"Digest {WRONG[1]}"):
            await heard.ask(session, "GET", f"{web}/api/v1/incidents", headers={"Authorization": value})
        await heard.ask(session, "POST", f"{web}/webhook", data=b"{", headers=right)
        await rig.within("the call", rig.simulator.phone("alice-iphone").wait_for_call(None))

        # An enrolment: the code and the credential are for the phone alone.
        async with session.post(f"{web}/api/v1/enrolments?owner=alice", headers=right) as made:
            code = (await made.json())["code"]
        async with session.post(f"{phones}/enrol", json={"code": code}) as done:
            credential = (await done.json())["credential"]
        token = "ab12cd34" * 8
        secrets += [code, code.replace("-", ""), credential]
        device = {"Authorization": f"Bearer {credential}"}
        await heard.ask(session, "PUT", f"{phones}/device/tokens", json={"voip_token": token}, headers=device)
        await heard.ask(session, "GET", f"{phones}/device", headers=device)
        await heard.ask(session, "GET", f"{phones}/incidents", headers=device)
        await heard.ask(session, "GET", f"{phones}/device", headers={"Authorization": f"Bearer {WRONG[2]}"})
        await heard.ask(session, "POST", f"{phones}/enrol", json={"code": WRONG[3]})
        await heard.ask(session, "POST", f"{phones}/enrol", json={"code": code})
        await heard.ask(session, "GET", f"{phones}/openapi.json")

        await break_something(rig, heard, session, device)
        await read_everything(rig, heard, session)
    await commands(rig, heard)
    rig.running["bridge"].process.send_signal(signal.SIGHUP)
    assert token not in str(heard.texts)
    return secrets


async def break_something(
    rig: Rig, heard: Heard, session: aiohttp.ClientSession, device: dict[str, str]
) -> None:
    """Provoke tracebacks, with tokens in the values around them, and files with mistakes at their secrets."""
    web, phones = rig.bridge_url, f"http://{rig.phone_address}/api/v1"
    right = {"Authorization": f"Bearer {BEARER}"}
    other = sqlite3.connect(rig.folder / "bridge.db", isolation_level=None, timeout=30)
    other.execute("ALTER TABLE devices RENAME TO away")
    await heard.ask(session, "POST", f"{web}/webhook", json=notification("NodeDown", "web"), headers=right)
    await heard.ask(session, "GET", f"{phones}/device", headers=device)
    await heard.ask(session, "POST", f"{web}/-/reload", headers=right)
    await heard.ask(session, "GET", f"{web}/api/v1/devices", headers=right)
    await rig.until("a traceback", lambda: traceback_in(rig))
    other.execute("ALTER TABLE away RENAME TO devices")
    other.close()

    good = rig.config.read_text()
    rig.config.write_text(good.replace("credentials:", "credential:").replace("ical_url:", "ical_file:"))
    await heard.ask(session, "POST", f"{web}/-/reload", headers=right)
    await heard.command("check-config", str(rig.config))
    rig.config.write_text(good)
    await heard.command("check-config", str(rig.config))
    await heard.ask(session, "POST", f"{web}/-/reload", headers=right)
    (rig.folder / "web.yaml").write_text(f"authorization: {{credentials: {BEARER}, token: {WRONG[0]}}}")
    await heard.ask(session, "GET", f"{web}/metrics", headers=right)


async def read_everything(rig: Rig, heard: Heard, session: aiohttp.ClientSession) -> None:
    web, right = rig.bridge_url, {"Authorization": f"Bearer {BEARER}"}
    for path in (
        "/metrics",
        "/-/ready",
        "/-/healthy",
        "/-/status",
        "/api/v1/devices",
        "/api/v1/incidents?all=true",
        "/nothing",
    ):
        await heard.ask(session, "GET", web + path, headers=right)
    shown = json.loads(await heard.ask(session, "GET", f"{web}/api/v1/incidents?all=true", headers=right))
    for one in shown["incidents"]:
        await heard.ask(session, "GET", f"{web}/api/v1/incidents/{one['id']}", headers=right)


async def traceback_in(rig: Rig) -> bool | None:
    return True if "Traceback" in rig.running["bridge"].log.read_text() else None


async def commands(rig: Rig, heard: Heard) -> None:
    at = f"--bridge.url=http://carol:{PASSWORD}@{rig.bridge_url.removeprefix('http://')}"
    by_token = (f"--bridge.url={rig.bridge_url}", f"--bridge.token-file={rig.folder / 'bearer'}")
    wrong = f"--bridge.url=http://carol:{WRONG[1]}@{rig.bridge_url.removeprefix('http://')}"
    down = f"--bridge.url=http://carol:{PASSWORD}@127.0.0.1:1"
    doors = ((at,), by_token, (wrong,), (down,))
    groups = (("devices", "list"), ("oncall", "show"), ("devices", "show", "alice-iphone", "-o", "json"))
    await asyncio.gather(
        *(heard.command("incidents", "list", "--all", *door) for door in doors),
        *(heard.command(*group, *by_token) for group in groups),
    )
    await heard.command(
        "serve", f"--config.file={rig.config}", f"--web.config.file={rig.folder / 'web.yaml'}"
    )
    await heard.command("config", "routes", "show", f"--config.file={rig.config}")
