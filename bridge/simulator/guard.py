"""Keeps other web sites away from the control interface: it has no password, and a browser reaches it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""With every answer: nothing from elsewhere runs on the page, and no other site shows or reads it."""


def refusal(method: str, headers: Mapping[str, str], own_name: str = "") -> tuple[int, str] | None:
    """Say why a request may be another site's doing: status and reason; None where it is all right.

    `own_name` is the name that the listener was told, if any. A program such as curl sends neither Origin
    nor Sec-Fetch-Site, and is nobody's tool but its user's.
    """
    host = headers.get("Host", "")
    if not _own(host, own_name):
        return 403, "open it by the machine's address: a name such as this one may be anybody's"
    if method in _SAFE:
        return None
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site not in {None, "same-origin", "none"} or origin not in {None, f"http://{host}"}:
        return 403, "only the simulator's own page may ask for this from a browser"
    browser = site is not None or origin is not None
    body = headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers
    if browser and body and headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        return 415, "the body is application/json"
    return None


def _own(host: str, own_name: str) -> bool:
    """Tell whether a Host cannot be a name that somebody lets point to this machine (DNS rebinding)."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name.removesuffix(".localhost") or name == own_name.lower()
    return True


def guard(own_name: str) -> Middleware:
    """Give the middleware that refuses what `refusal` refuses."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = refusal(request.method, request.headers, own_name)
        if refused is not None:
            return web.json_response({"error": refused[1]}, status=refused[0])
        return await handler(request)

    return middleware


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add HEADERS to an answer before it goes out."""
    response.headers.update(HEADERS)
