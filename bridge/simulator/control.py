"""The control interface: plain HTTP and JSON, for a person, the demo and tests in other processes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from aiohttp import ClientConnectionResetError, web

from bridge.pushes import PushKind
from bridge.simulator import wishes
from bridge.simulator.answers import Answer
from bridge.simulator.calls import Call
from bridge.simulator.feeds import Event
from bridge.simulator.guard import add_headers, guard
from bridge.simulator.membership import Refused
from bridge.simulator.page import Screens, file, wants_page
from bridge.simulator.phones import Phone
from bridge.simulator.profile import Profile, Push

if TYPE_CHECKING:
    from bridge.simulator import Simulator

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(sim: Simulator) -> web.Application:
    """Give the application that controls `sim`."""
    control = _Control(sim)
    app = web.Application(middlewares=[guard(sim.control_name), _say_what_is_wrong])
    app.on_response_prepare.append(add_headers)
    app.add_routes(Screens(sim).routes())
    app.add_routes(
        [
            web.get("/", control.index),
            web.get("/phones", control.phones),
            web.get("/phones/{name}", control.phone),
            web.put("/phones/{name}", control.put),
            web.patch("/phones/{name}", control.patch),
            web.delete("/phones/{name}", control.delete),
            web.get("/phones/{name}/pushes", control.pushes),
            web.get("/phones/{name}/calls", control.calls),
            web.post("/phones/{name}/answer", control.answer),
            web.post("/phones/{name}/decline", control.decline),
            web.post("/phones/{name}/hang-up", control.hang_up),
            web.post("/phones/{name}/tidy", control.tidy),
            web.post("/phones/{name}/open", control.open),
            web.post("/phones/{name}/script", control.script),
            web.post("/phones/{name}/enrol", control.enrol),
            web.post("/phones/{name}/rotate", control.rotate),
            web.post("/phones/{name}/rotate-key", control.rotate_key),
            web.post("/phones/{name}/invalidate", control.invalidate),
            web.get("/phones/{name}/incidents/{id}", control.incident),
            web.post("/phones/{name}/incidents/{id}/{verb}", control.act),
            web.post("/alarm", control.alarm),
            web.get("/answers", control.answers),
            web.get("/contract", control.contract),
            web.get("/events", control.events),
            web.get("/faults", control.faults),
            web.post("/faults", control.fault),
            web.delete("/faults", control.clear_faults),
        ]
    )
    return app


@web.middleware
async def _say_what_is_wrong(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn what a handler raises into an answer with a sentence in it."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)
    except KeyError as error:
        return web.json_response({"error": str(error.args[0])}, status=404)
    except (LookupError, Refused) as error:
        return web.json_response({"error": str(error)}, status=409)
    except ConnectionError as error:
        return web.json_response({"error": str(error)}, status=502)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)


class _Control:
    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Give the page to a browser, and to a program the list of what there is."""
        if wants_page(request):
            return file("/")
        routes = [route for route in request.app.router.routes() if route.method != "HEAD"]
        return web.json_response([f"{route.method} {_path(route)}" for route in routes])

    async def phones(self, _: web.Request) -> web.Response:
        return web.json_response([_phone(phone) for phone in self._sim.phones])

    async def phone(self, request: web.Request) -> web.Response:
        return web.json_response(_phone(self._named(request)))

    async def put(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        wish = wishes.settings(await wishes.read_body(request))
        if name in self._sim.phones:
            return web.json_response(_phone(self._change(self._sim.phone(name), wish)))
        phone = self._sim.add_phone(name, **wish)
        phone.changed()
        return web.json_response(_phone(phone), status=201)

    async def patch(self, request: web.Request) -> web.Response:
        phone = self._named(request)
        wish = wishes.settings(await wishes.read_body(request))
        return web.json_response(_phone(self._change(phone, wish)))

    async def delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._sim.remove_phone(name)
        self._sim.events.publish("removed", phone=name)
        return web.Response(status=204)

    async def pushes(self, request: web.Request) -> web.Response:
        return web.json_response([_push(push) for push in self._named(request).pushes.items])

    async def calls(self, request: web.Request) -> web.Response:
        return web.json_response([_call(call) for call in self._named(request).calls.items])

    async def answer(self, request: web.Request) -> web.Response:
        return web.json_response(_call(self._named(request).answer(await wishes.call_uuid(request))))

    async def decline(self, request: web.Request) -> web.Response:
        return web.json_response(_call(self._named(request).decline(await wishes.call_uuid(request))))

    async def hang_up(self, request: web.Request) -> web.Response:
        """End the call that was answered."""
        return web.json_response(_call(self._named(request).hang_up(await wishes.call_uuid(request))))

    async def tidy(self, request: web.Request) -> web.Response:
        """Clear the notifications away."""
        phone = self._named(request)
        phone.tidy()
        return web.json_response(_phone(phone))

    async def open(self, request: web.Request) -> web.Response:
        """Open the app, which puts its tokens; gives how the bridge sees the device."""
        return web.json_response(await self._named(request).open())

    async def incident(self, request: web.Request) -> web.Response:
        """Show an incident with its alerts and timeline, as the bridge shows it to this phone."""
        membership, name = self._named(request).enrolled, quote(request.match_info["id"], safe="")
        return web.json_response(await membership.ask("GET", f"/api/v1/incidents/{name}"))

    async def script(self, request: web.Request) -> web.Response:
        """Take one answer or a list of them; each may say `times`."""
        phone = self._named(request)
        for answer, times in wishes.script(await wishes.read_json(request)):
            phone.answer_next(answer, times)
        return web.json_response(_phone(phone))

    async def enrol(self, request: web.Request) -> web.Response:
        """Enrol with a bridge: `link` is what its QR code says; or `url` and `code`."""
        phone = self._named(request)
        url, code = wishes.enrolment(await wishes.read_body(request))
        await phone.enrol(url, code)
        return web.json_response(_phone(phone))

    async def rotate(self, request: web.Request) -> web.Response:
        """Get new tokens, as PushKit's didUpdate tells."""
        phone = self._named(request)
        await phone.rotate_tokens()
        return web.json_response(_phone(phone))

    async def rotate_key(self, request: web.Request) -> web.Response:
        """Make a new page key, which the bridge is told; gives how it sees the device."""
        return web.json_response(await self._named(request).rotate_key())

    async def invalidate(self, request: web.Request) -> web.Response:
        """Lose the token of a `kind`, as PushKit's didInvalidatePushToken tells."""
        phone, wish = self._named(request), await wishes.read_body(request)
        if wish.get("kind") not in get_args(PushKind):
            raise ValueError(f"kind is voip or alert, not {wish.get('kind')!r}")
        await phone.invalidate(wish["kind"])
        return web.json_response(_phone(phone))

    async def act(self, request: web.Request) -> web.Response:
        """Do something to an incident as the phone's owner; the body goes to the bridge as it is."""
        membership = self._named(request).enrolled
        incident, verb = request.match_info["id"], request.match_info["verb"]
        return web.json_response(await membership.act(incident, verb, **await wishes.read_body(request)))

    async def alarm(self, _: web.Request) -> web.Response:
        """Let an alert fire."""
        if self._sim.alarm is None:
            raise LookupError("no Alertmanager is known here; the demo has one")
        return web.json_response({"alert": await self._sim.alarm()})

    async def answers(self, _: web.Request) -> web.Response:
        """Give the newest 1,000 answers, newest last."""
        kept = list(self._sim.service.answered)[-1000:]
        return web.json_response(
            [
                {"at": one.at.isoformat(), "apns_id": one.apns_id, "token": one.token} | _answer(one.answer)
                for one in kept
            ]
        )

    async def contract(self, _: web.Request) -> web.Response:
        """Give what broke the contract, the first 100, and how much was looked at."""
        it = self._sim.contract
        return web.json_response({"checked": it.checked, "broken": it.broken, "breaches": it.breaches})

    async def faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._sim.faults.state())

    async def fault(self, request: web.Request) -> web.Response:
        self._sim.faults.apply(await wishes.read_body(request))
        return web.json_response(self._sim.faults.state())

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._sim.faults.clear()
        return web.json_response(self._sim.faults.state())

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send events as they come; who comes back with Last-Event-ID gets what was missed."""
        since = request.headers.get("Last-Event-ID", request.query.get("since"))
        if since is not None and not since.isdecimal():
            raise ValueError(f"since is the number of an event, not {since!r}")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        watch = self._sim.events.watch(None if since is None else int(since))
        await response.prepare(request)
        try:
            await response.write(b": ready\n\n")
            async for event in watch:
                await response.write(_sse(event))
        except ClientConnectionResetError:
            pass  # the watcher has gone: nothing to tell anybody
        finally:
            await watch.aclose()
        return response

    def _named(self, request: web.Request) -> Phone:
        return self._sim.phone(request.match_info["name"])

    def _change(self, phone: Phone, wish: Mapping[str, Any]) -> Phone:
        profile = replace(phone.profile, **wish)
        self._sim.phones.check_tokens(phone.name, profile)
        phone.profile = profile
        phone.changed()
        return phone


def _path(route: web.AbstractRoute) -> str:
    return route.resource.canonical if route.resource else ""


def _phone(phone: Phone) -> dict[str, Any]:
    profile: Profile = phone.profile
    fields = {name: getattr(profile, name) for name in wishes.FIELDS}
    since, member = profile.unregistered_since, phone.membership
    known = member and {"url": member.url, "device": member.device, "owner": member.owner}
    return (
        {"name": phone.name}
        | fields
        | {
            "unregistered_since": since and since.isoformat(),
            "enrolled": known,
            "answers_waiting": len(phone.script),
            "pushes": len(phone.pushes.items),
            "calls": len(phone.calls.items),
        }
    )


def _push(push: Push) -> dict[str, Any]:
    return {
        "at": push.at.isoformat(),
        "apns_id": push.apns_id,
        "fate": push.fate,
        "push_type": push.notification.push_type,
        "headers": dict(push.headers),
        "payload": push.payload,
        "carried": push.carried,
        "seal": push.seal,
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "uuid": call.uuid,
        "id": call.record_id,
        "state": call.state,
        "why": call.why,
        "expires_at": call.expires_at.isoformat(),
        "history": [{"at": at.isoformat(), "state": state} for at, state in call.history],
        "payload": call.payload,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "reason": answer.reason, "manner": answer.manner}


def _sse(event: Event) -> bytes:
    data = json.dumps({"at": event.at.isoformat(), "kind": event.kind} | event.data)
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n".encode()
