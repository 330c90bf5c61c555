"""A phone enrols, says which tokens it has, and asks how the bridge sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog
from aiohttp import web

from bridge.api.answers import problem
from bridge.api.phone import shapes, telling
from bridge.api.phone.operations import Answer, Asked, Attempts, Operation, slow_down
from bridge.desk import Desk
from bridge.pushes import PushKind, mask
from bridge.sealing import kid
from bridge.store import Topic, Tx, enrolment
from bridge.store.enrolment import Enrolled, Tokens
from bridge.texts import NAME, one_line

log = structlog.get_logger()


class Devices:
    """The operations of enrolment and registration."""

    def __init__(self, desk: Desk, on_tokens: Callable[[], None]) -> None:
        self._desk = desk
        self._on_tokens = on_tokens
        self._attempts = Attempts()

    def operations(self) -> list[Operation]:
        """Give the operations."""
        here = "/api/v1/device"
        return [
            Operation(
                "enrol",
                "POST",
                "/api/v1/enrol",
                self.enrol,
                "Exchange a one-time code for a credential",
                shapes.Enrolled,
                body=shapes.Enrol,
                status=201,
                access="open",
                refusals=(400, 413, 429),
            ),
            Operation("showDevice", "GET", here, self.show, "Show this device", shapes.Device),
            Operation(
                "leave",
                "DELETE",
                here,
                self.leave,
                "Sign off: the credential and the tokens are forgotten",
                "",
            ),
            Operation(
                "putTokens",
                "PUT",
                f"{here}/tokens",
                self.put_tokens,
                "Register push tokens, as PushKit's didUpdate gave them",
                shapes.Device,
                body=shapes.PutTokens,
                refusals=(400, 413),
            ),
            Operation(
                "dropToken",
                "DELETE",
                f"{here}/tokens/{{kind}}",
                self.drop_token,
                "Forget a token, as PushKit's didInvalidatePushToken says: voip or alert",
                shapes.Device,
                refusals=(404,),
                parameters=(("kind", "path", {"type": "string", "enum": ["voip", "alert"]}),),
            ),
            Operation(
                "putKey",
                "PUT",
                f"{here}/encryption-key",
                self.put_key,
                "Have pushes sealed for another key",
                shapes.Device,
                body=shapes.PutKey,
                refusals=(400, 413),
            ),
            Operation(
                "dropKey",
                "DELETE",
                f"{here}/encryption-key",
                self.drop_key,
                "Forget the key: the phone cannot open what is sealed",
                shapes.Device,
            ),
        ]

    async def enrol(self, asked: Asked) -> Answer:
        """Exchange a code. A wrong one, a used one and an old one get the same answer."""
        now, address = self._desk.clock.now(), asked.request.remote or ""
        outcomes = self._desk.metrics.enrolments
        if seconds := self._attempts.begin(address, now):
            outcomes.labels("limited").inc()
            return slow_down(seconds)
        if self._desk.settings.keyed and asked.body.encryption_key is None:
            # Before the code is looked at: it stays good for the app that has been updated.
            outcomes.labels("refused").inc()
            return problem(
                400, "this bridge wants an encryption key", "this app hands over none: update it, then enrol"
            )
        done = await self._exchange(asked.body)
        outcomes.labels("refused" if done is None else "enrolled").inc()
        if done is None:
            log.warning("enrolment refused", remote=address, reason="this code is not valid")
            hint = "codes work once, for ten minutes: pushkit-bridge devices enroll makes another"
            return problem(400, "this code is not valid", hint)
        with suppress(ValueError):  # long ago, by the clock: it is forgotten already
            self._attempts.succeeded(address, now)
        device, credential = done
        log.info("device enrolled", device=device.name, owner=device.owner, remote=address)
        return shapes.Enrolled(device.name, device.owner, credential)

    async def _exchange(self, body: shapes.Enrol) -> tuple[Enrolled, str] | None:
        wish = one_line(body.name, NAME) if body.name else None
        said = Tokens(app_version=body.app_version, os_version=body.os_version)
        people = self._desk.settings.people

        async def job(tx: Tx) -> tuple[Enrolled, str] | None:
            done = await enrolment.enrol(tx.connection, body.code, wish, people, tx.now, body.encryption_key)
            if done is not None:
                await enrolment.put_tokens(tx.connection, done[0].name, said, tx.now)
                tx.tell(Topic.STORY)  # the stream of a phone whose name this one took over ends
            return done

        return await self._desk.store.write(job)

    async def show(self, asked: Asked) -> Answer:
        """Show the device."""
        return await self._shown(asked)

    async def leave(self, asked: Asked) -> Answer:
        """Let the device go."""
        await self._desk.revoke(asked.sender.name)
        log.info("device revoked", device=asked.sender.name, by="the phone")
        return web.Response(status=204)

    async def put_tokens(self, asked: Asked) -> Answer:
        """Take the tokens. What the phone does not say of its app is as under apns in the configuration."""
        body: shapes.PutTokens = asked.body
        apns = self._desk.settings.apns
        new = Tokens(
            voip_token=body.voip_token and body.voip_token.lower(),
            alert_token=body.alert_token and body.alert_token.lower(),
            environment=body.environment,
            bundle_id=body.bundle_id,
            app_version=body.app_version,
            os_version=body.os_version,
        )

        async def job(tx: Tx) -> None:
            if not await enrolment.stands(tx.connection, asked.sender):
                return
            await enrolment.put_tokens(tx.connection, asked.sender.name, new, tx.now)
            await enrolment.complete(tx.connection, asked.sender.name, apns.environment, apns.topic)
            tx.tell(Topic.STORY)

        await self._desk.store.write(job)
        self._on_tokens()
        log.info(
            "tokens registered",
            device=asked.sender.name,
            voip=_masked(new.voip_token),
            alert=_masked(new.alert_token),
        )
        return await self._shown(asked)

    async def drop_token(self, asked: Asked) -> Answer:
        """Forget one token."""
        kinds: dict[str, PushKind] = {"voip": "voip", "alert": "alert"}
        kind = kinds.get(asked.part("kind"))
        if kind is None:
            return problem(404, "there are two kinds of tokens: voip and alert")

        async def job(tx: Tx) -> None:
            await enrolment.drop_token(tx.connection, asked.sender.name, kind)
            tx.tell(Topic.STORY)

        await self._desk.store.write(job)
        log.info("token dropped", device=asked.sender.name, push=kind)
        return await self._shown(asked)

    async def put_key(self, asked: Asked) -> Answer:
        """Take another key: what is claimed from now on is sealed for it, a repeated push too."""
        return await self._keep(asked, asked.body.encryption_key)

    async def drop_key(self, asked: Asked) -> Answer:
        """Forget the key."""
        return await self._keep(asked, None)

    async def _keep(self, asked: Asked, key: str | None) -> Answer:
        async def job(tx: Tx) -> None:
            if await enrolment.stands(tx.connection, asked.sender):
                await enrolment.put_key(tx.connection, asked.sender.name, key, tx.now)
                tx.tell(Topic.STORY)

        await self._desk.store.write(job)
        log.info("encryption key changed", device=asked.sender.name, kid=key and kid(key))
        return await self._shown(asked)

    async def _shown(self, asked: Asked) -> Answer:
        found = await self._desk.store.read(partial(enrolment.list_devices, only=asked.sender.name))
        if not found:
            return problem(404, "this device was revoked just now")
        settings = self._desk.settings
        return telling.device(found[0], settings.people, keyed=settings.keyed)


def _masked(token: str | None) -> str | None:
    return token and mask(token)
