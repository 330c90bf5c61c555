"""The web configuration applied to an aiohttp application: who may come in, and the headers that go out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext
from typing import Final, Protocol, TypeAlias

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bridge.web import credentials
from bridge.web.credentials import Identity, Refused
from bridge.web.live import WebConfig

log = structlog.get_logger(__name__)


class SecretText(Protocol):
    """A secret as the configuration holds it."""

    def reveal(self) -> str:
        """Give the secret itself."""


OnRefused: TypeAlias = Callable[[web.Request, Refused], Awaitable[bool]]
OnAdmitted: TypeAlias = Callable[[web.Request, Identity], Awaitable[None]]
Override: TypeAlias = Callable[[web.Request], SecretText | None]
Voucher: TypeAlias = Callable[[web.Request], Identity | None]
Known: TypeAlias = Callable[[str], bool]

_IDENTITY: Final = web.RequestKey("bridge.web.identity", Identity)


def protect(
    app: web.Application,
    config: WebConfig,
    *,
    exempt: Collection[str] = frozenset(),
    override: Override | None = None,
    voucher: Voucher | None = None,
    known: Known = lambda _: False,
    on_refused: OnRefused | None = None,
    on_admitted: OnAdmitted | None = None,
) -> None:
    """Add the middleware and the configured response headers to `app`; see `credentials_middleware`."""
    app.middlewares.append(
        credentials_middleware(
            config,
            exempt=exempt,
            override=override,
            voucher=voucher,
            known=known,
            on_refused=on_refused,
            on_admitted=on_admitted,
        )
    )

    async def add_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
        for name, value in config.settings.headers.items():
            response.headers.setdefault(name, value)

    app.on_response_prepare.append(add_headers)


def credentials_middleware(
    config: WebConfig,
    *,
    exempt: Collection[str] = frozenset(),
    override: Override | None = None,
    voucher: Voucher | None = None,
    known: Known = lambda _: False,
    on_refused: OnRefused | None = None,
    on_admitted: OnAdmitted | None = None,
) -> Middleware:
    """Let in who may come in; answer the others 401 (or 503 when overloaded), JSON `{"error", "hint"}`.

    `exempt` are paths that need no credentials. `override` may give a secret that is wanted as the bearer
    token in place of the listener's own credentials. `voucher` may say who it is, without credentials.
    `known` tells of which addresses credentials are looked at also while they are locked out, in a line.
    `on_refused` is awaited before the answer; where it gives False, or fails, nobody would know of the
    refusal, and the answer is 503: the sender is to come again.
    `on_admitted` is awaited before the handler, which `identity(request)` tells who was let in.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        config.refresh()
        if request.path in exempt:
            return await handler(request)
        vouched = voucher(request) if voucher is not None else None
        verdict = config.over_rate() or vouched or await _judge(config, request, override, known)
        if isinstance(verdict, Identity):
            request[_IDENTITY] = verdict
            if on_admitted is not None:
                await on_admitted(request, verdict)
            return await handler(request)
        log.warning("request refused", path=request.path, remote=request.remote, reason=verdict.error)
        if on_refused is not None and not await _noted(on_refused(request, verdict)):
            verdict = Refused("the refusal could not be recorded", "try again", status=503, retry_after=1)
        return answer(verdict)

    return middleware


def identity(request: web.BaseRequest) -> Identity:
    """Tell who was let in; scheme "none" where nobody was asked."""
    return request.get(_IDENTITY) or Identity("none")


def answer(refused: Refused) -> web.Response:
    """Turn a Refused into the HTTP answer."""
    response = web.json_response({"error": refused.error, "hint": refused.hint}, status=refused.status)
    for challenge in refused.challenges:
        response.headers.add("WWW-Authenticate", challenge)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response


async def _noted(noting: Awaitable[bool]) -> bool:
    try:
        return await noting
    except Exception:
        log.exception("a refusal could not be recorded")
        return False


async def _judge(
    config: WebConfig, request: web.Request, override: Override | None, known: Known
) -> Identity | Refused:
    sent = " ".join(request.headers.getall("Authorization", ()))
    address = request.remote or ""
    # Nothing sent is nothing guessed.
    wait = config.lockout.begin(address, sent) if sent else 0
    if not wait:
        verdict = await _check(config, request, override)
    elif known(address):
        verdict = await _look_again(config, request, override, sent, wait)
    else:
        verdict = _locked_out(wait)
    if sent and isinstance(verdict, Identity):
        config.lockout.succeeded(address, sent)
    return verdict


async def _look_again(
    config: WebConfig, request: web.Request, override: Override | None, sent: str, wait: int
) -> Identity | Refused:
    """Let in who is right. A token costs nothing to compare, so it does not queue behind passwords."""
    line = config.line.place() if sent[:6].lower() == "basic " else nullcontext(enter_result=True)
    async with line as my_turn:
        verdict = await _check(config, request, override) if my_turn else None
    return verdict if isinstance(verdict, Identity) else _locked_out(wait)


def _locked_out(wait: int) -> Refused:
    error = "too many different credentials came from this address"
    return Refused(error, f"wait {wait} s", status=503, retry_after=wait, reason="locked out")


async def _check(config: WebConfig, request: web.Request, override: Override | None) -> Identity | Refused:
    secret = override(request) if override is not None else None
    if secret is None:
        return await config.authenticate(request)
    if credentials.check_bearer(request, secret.reveal()):
        return Identity("bearer")
    header = credentials.read_authorization(request)
    hint = "in Alertmanager's http_config, set authorization to the credentials of this source"
    if isinstance(header, str):
        reason: credentials.Reason = "missing" if header == credentials.NOTHING else "wrong"
        return Refused(header, hint, challenges=(credentials.BEARER_CHALLENGE,), reason=reason)
    error = "this source wants its own bearer token, and this is not it"
    return Refused(error, hint, challenges=(credentials.INVALID_BEARER_CHALLENGE,))
