"""Who may look, who may act, and that an act was asked for by a page of ours."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiohttp import web

from bridge.config import ConsoleSettings, Role
from bridge.desk import Desk
from bridge.texts import one_line
from bridge.web import Identity, identity

COOKIE: Final = "pushkit_bridge_session"
FIELD: Final = "csrf"
"""The form field that holds the token."""

_SESSION: Final = re.compile("[A-Za-z0-9_-]{32}")
_NAME: Final = 200
_YEAR: Final = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Person:
    """Who looks. `name` is "" where nobody had to give one."""

    name: str
    role: Role
    scheme: str

    @property
    def acts(self) -> bool:
        """Whether they may change anything."""
        return self.role is Role.OPERATOR

    @property
    def signature(self) -> str:
        """The name that goes into a timeline."""
        return one_line(self.name, _NAME) or "an operator"


class Door:
    """Lets people in. `key` signs the tokens of forms; it outlives a restart, and so do they."""

    def __init__(self, desk: Desk, key: bytes, prefix: str) -> None:
        self._desk = desk
        self._key = key
        self._prefix = prefix

    @property
    def _settings(self) -> ConsoleSettings:
        return self._desk.settings.console

    def voucher(self, request: web.Request) -> Identity | None:
        """Take a trusted proxy's word for whose a request is, at the console alone."""
        name = request.match_info.route.name or ""
        if not name.startswith("console.") or not self._settings.trusts(request.remote or ""):
            return None
        said = request.headers.getall(self._settings.user_header, [])
        # Two of them: one may be the visitor's own.
        if len(said) != 1 or not said[0].strip() or not said[0].isprintable() or len(said[0]) > _NAME:
            return None
        return Identity("proxy", said[0].strip())

    def person(self, request: web.Request) -> Person:
        """Say who looks. Raises HTTPForbidden."""
        known = identity(request)
        if known.scheme == "none" and self._settings.trusted_proxies:
            raise web.HTTPForbidden(text="the console is reached through the proxy that asks who you are")
        role = self._settings.role(known.name)
        if role is None:
            raise web.HTTPForbidden(text="you are neither an operator nor a viewer of this bridge")
        return Person(known.name, role, known.scheme)

    def stands(self, person: Person) -> bool:
        """Tell whether somebody may still do what they might: a reload may have taken it away."""
        return self._settings.role(person.name) is person.role

    def session(self, request: web.Request) -> str | None:
        """Give the browser's session, where it has one."""
        text = request.cookies.get(COOKIE, "")
        return text if _SESSION.fullmatch(text) else None

    def keep_session(self, request: web.Request, response: web.Response, session: str) -> None:
        """Let the browser keep its session."""
        response.set_cookie(
            COOKIE,
            session,
            max_age=_YEAR,
            path=self._prefix or "/",
            secure=request.secure,
            httponly=True,
            # Not Strict: a link in a chat would begin another session, and spoil the forms of open pages.
            samesite="Lax",
        )

    def token(self, session: str, person: Person) -> str:
        """Give the token for the forms of a session, of this person alone."""
        words = f"console\0{session}\0{person.scheme}\0{person.name}"
        return hmac.digest(self._key, words.encode("utf-8", "surrogateescape"), sha256).hex()

    def check(self, request: web.Request, person: Person, token: str) -> None:
        """Let an act pass. Raises HTTPForbidden."""
        if not person.acts:
            raise web.HTTPForbidden(text="you may look, but not act: ask an operator")
        session = self.session(request)
        right = session is not None and hmac.compare_digest(
            self.token(session, person).encode(), token.encode("utf-8", "surrogateescape")
        )
        if not right:
            raise web.HTTPForbidden(
                text="this form is not of this session: go back, reload the page, try again"
            )


def fresh() -> str:
    """Make a session, 32 characters."""
    return secrets.token_urlsafe(24)
