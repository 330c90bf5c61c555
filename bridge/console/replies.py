"""Answers of the console: HTML with its headers, also where something is wrong."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from bridge.console.rendering import render
from bridge.store import Overloaded

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()

DONE: Final[Mapping[str, str]] = {
    "acknowledge": "Acknowledged: no phone rings for it any more.",
    "unacknowledge": "Given back: it rings again from step 1.",
    "silence": "Silenced: nothing of it rings until then.",
    "hand-on": "Handed on to the next step.",
    "note": "The note is in the timeline.",
    "override": "Written: the next ring goes by it.",
    "take-back": "Deleted: the schedule's own turns count again.",
    "revoke": "Revoked: the phone sees nothing any more, and rings no more.",
    "test": "The test call is on its way: this page shows each hand-over.",
}
"""What is said after an act, by its name in the address."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer a browser would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def html(text: str, status: int = 200) -> web.Response:
    """Answer with a page."""
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)


def problem(prefix: str, status: int, text: str) -> web.Response:
    """Answer with a page that says what is wrong."""
    context = {"root": prefix, "status": status, "phrase": HTTPStatus(status).phrase, "text": text}
    return html(render("problem.html", context), status)


def shown(prefix: str, handler: Handler) -> Handler:
    """Turn what a handler raises into a page."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return problem(prefix, error.status, error.text or error.reason)
        except (Overloaded, SQLAlchemyError) as error:
            log.error("not shown", path=request.path, error=str(getattr(error, "orig", None) or error))  # noqa: TRY400 - the text says it
            return problem(prefix, 503, "The ledger cannot be read or written just now. Try again.")
        except Exception:
            log.exception("a page failed", path=request.path)
            return problem(prefix, 500, "The bridge failed; this is a bug. Its log says where.")

    return wrapped
