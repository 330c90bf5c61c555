"""The web configuration in force: read again when its files change, and asked about each request."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from bridge.config.problems import Problem
from bridge.web import credentials, tls
from bridge.web.credentials import Authorization, Identity, Passwords, Reason, Refused, Workers
from bridge.web.files import Files
from bridge.web.lockout import Line, Lockout
from bridge.web.settings import RateLimit, Settings, WebConfigError, read_settings

log = structlog.get_logger(__name__)

_HINTS: Final = {
    "basic": "basic_auth (user and password)",
    "bearer": "authorization (a bearer token)",
}
_BUSY: Final = "try again in a moment"


class WebConfig:
    """The file behind `--web.config.file`, live. Make one with `load`.

    `on_reload` is called after each attempt to read changed files: with None when they are in force now,
    with the WebConfigError when the old ones stay.
    """

    def __init__(
        self, path: Path | None, settings: Settings, files: Files, *, tls_only: bool = False
    ) -> None:
        self._path = path
        self._tls_only = tls_only
        self._files = files
        self._workers = Workers()
        self.lockout = Lockout()
        self.line = Line()
        self.on_reload: Callable[[WebConfigError | None], None] = lambda _: None
        self._use(settings)

    @classmethod
    def load(cls, path: Path | None, *, tls_only: bool = False) -> WebConfig:
        """Read the file (None: no TLS, everybody may come in); raises WebConfigError with all problems.

        `tls_only`: the file is for a listener that lets in by itself, and may say nothing of who comes in.
        """
        files = Files()
        settings = read_settings(path, files) if path else Settings()
        if path and tls_only:
            _nothing_but_tls(path, settings)
        return cls(path, settings, files, tls_only=tls_only)

    @property
    def settings(self) -> Settings:
        """What is in force at this moment."""
        return self._settings

    @property
    def open(self) -> bool:
        """Tell whether whoever reaches the listener may come in."""
        now = self._settings
        verified = now.context is not None and now.context.verify_mode is ssl.CERT_REQUIRED
        return not (now.users or now.bearer or verified)

    def refresh(self) -> None:
        """Read the files again if one has changed; a bad one is logged once, and the old stay in force."""
        if not self._files.changed():
            return
        try:
            self.reload()
        except WebConfigError as error:
            problems = [str(problem) for problem in error.problems]
            log.error("web configuration not reloaded, the old one stays in force", problems=problems)  # noqa: TRY400 - the problems say it all
        else:
            log.info("web configuration reloaded", file=str(self._path))

    def reload(self) -> None:
        """Read the files again now; raises WebConfigError, and then the old ones stay in force."""
        if self._path is None:
            return
        # Kept also when the reading fails, so that the same bad file is not read for each request.
        self._files = Files()
        try:
            settings = read_settings(self._path, self._files)
            self._may_replace(self._path, settings)
            if self._tls_only:
                _nothing_but_tls(self._path, settings)
        except WebConfigError as error:
            self.on_reload(error)
            raise
        self._use(settings)
        self.on_reload(None)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Give the context for the listener, None for plain HTTP; it follows the file by itself."""
        return tls.LiveContext.following(self._current_context) if self._settings.context else None

    async def authenticate(self, request: web.BaseRequest) -> Identity | Refused:
        """Say who sends the request, by what is in force now; one of the configured schemes suffices."""
        settings, passwords = self._settings, self._passwords
        schemes = [s for s, on in (("basic", settings.users), ("bearer", settings.bearer)) if on]
        if not schemes:
            return _by_certificate(request)
        header = credentials.read_authorization(request)
        if isinstance(header, str):
            return _refused(header, schemes)
        if header.scheme not in schemes:
            return _refused("this Authorization scheme is not accepted here", schemes)
        if header.scheme == "bearer":
            right = credentials.same_secret(header.value, settings.bearer or "")
            return Identity("bearer") if right else _refused("the bearer token is wrong", schemes)
        return await _by_password(header, passwords, schemes)

    def over_rate(self) -> Refused | None:
        """Take one request out of `rate_limit`'s bucket; a Refused (503) when it is empty."""
        wait = self._bucket.take() if self._bucket else 0.0
        if not wait:
            return None
        return Refused(
            "more requests than rate_limit allows",
            _BUSY,
            status=503,
            retry_after=int(wait) + 1,
            reason="overloaded",
        )

    def _current_context(self) -> ssl.SSLContext:
        self.refresh()
        context = self._settings.context
        if context is None:  # cannot be: a reload never turns TLS off
            raise ssl.SSLError("TLS is off")
        return context

    def _use(self, settings: Settings) -> None:
        before: Settings | None = getattr(self, "_settings", None)
        self._settings = settings
        for key in settings.exposed:
            log.warning("everybody on this machine can read this secret", file=str(self._path), key=key)
        self._passwords = Passwords(settings.users, self._workers)
        if before is None or before.rate_limit != settings.rate_limit:
            self._bucket = Bucket(settings.rate_limit) if settings.rate_limit else None

    def _may_replace(self, path: Path, new: Settings) -> None:
        """Refuse what a running listener cannot do, or what a half-written file would do."""
        old = self._settings
        message = ""
        if new.blank and not old.blank:
            message = "the file is empty, perhaps half-written; write {} to really allow everybody"
        elif bool(new.context) != bool(old.context):
            message = "tls_server_config was added or removed: that takes a restart"
        if message:
            raise WebConfigError([Problem(str(path), 1, 1, "", message)])


class Bucket:
    """A token bucket, as exporter-toolkit's `rate_limit`."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._tokens, self._at = float(limit.burst), clock()

    def take(self) -> float:
        """Take a token: 0, or the seconds until there is one."""
        now = self._clock()
        grown = self._tokens + (now - self._at) / self._limit.interval
        self._tokens, self._at = min(grown, float(self._limit.burst)), now
        if self._tokens < 1:
            return (1 - self._tokens) * self._limit.interval
        self._tokens -= 1
        return 0.0


def _nothing_but_tls(path: Path, settings: Settings) -> None:
    verify = settings.context is not None and settings.context.verify_mode is not ssl.CERT_NONE
    if settings.users or settings.bearer or settings.rate_limit or settings.headers or verify:
        message = (
            "the phones come in by their own credentials alone: leave out everything but tls_server_config, "
            "and client_auth_type in it"
        )
        raise WebConfigError([Problem(str(path), 1, 1, "", message)])


def _by_certificate(request: web.BaseRequest) -> Identity:
    names = tls.subject_names(request.get_extra_info("peercert"))
    return Identity("certificate", names[0]) if names else Identity("none")


async def _by_password(header: Authorization, passwords: Passwords, schemes: list[str]) -> Identity | Refused:
    pair = credentials.read_basic(header.value)
    if isinstance(pair, str):
        return _refused(pair, schemes)
    try:
        if await passwords.check(*pair):
            return Identity("basic", pair[0])
    except credentials.OverloadedError:
        return Refused(
            "too many passwords wait to be checked", _BUSY, status=503, retry_after=1, reason="overloaded"
        )
    return _refused("the user name or the password is wrong", schemes)


def _refused(error: str, schemes: list[str]) -> Refused:
    hint = "in Alertmanager's http_config, set " + " or ".join(_HINTS[scheme] for scheme in schemes)
    by_scheme = {"basic": credentials.BASIC_CHALLENGE, "bearer": credentials.BEARER_CHALLENGE}
    if error == "the bearer token is wrong":
        by_scheme["bearer"] = credentials.INVALID_BEARER_CHALLENGE
    reason: Reason = "missing" if error == credentials.NOTHING else "wrong"
    return Refused(error, hint, challenges=tuple(by_scheme[scheme] for scheme in schemes), reason=reason)
