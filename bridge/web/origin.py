"""A page of somebody else's must not act with our visitor's credentials: browsers say who sends."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

log = structlog.get_logger(__name__)

_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def foreign(request: web.BaseRequest) -> bool:
    """Tell whether a browser says that another site's page sends this.

    Whatever is no browser sends neither header. Source: Fetch Metadata Request Headers; Fetch, section 3.1.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()


@web.middleware
async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what changes something and comes from another site's page."""
    if request.method in _HARMLESS or not foreign(request):
        return await handler(request)
    log.warning("request refused", path=request.path, remote=request.remote, reason="from another site")
    raise web.HTTPForbidden(text="this came from a page of another site")
