"""Answers in JSON that say what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy.exc import SQLAlchemyError

from bridge.store import Overloaded

log = structlog.get_logger()


def answer(data: Any, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def problem(status: int, error: str, hint: str = "") -> web.Response:
    """Answer `{"error": ..., "hint": ...}`."""
    return answer({"error": error, "hint": hint} if hint else {"error": error}, status)


def no_such_incident(wanted: str) -> web.Response:
    """Answer that there is no incident of this id."""
    return problem(404, f"there is no incident {wanted[:100]!r}", "GET /api/v1/incidents lists them")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into JSON; what cannot be committed is 503, which Alertmanager retries."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = problem(error.status, error.text or error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (Overloaded, SQLAlchemyError) as error:
        log.error("not committed", path=request.path, error=_short(error))  # noqa: TRY400 - the text says it
        return problem(503, "this could not be committed; try again", _short(error))
    except web.RequestPayloadError:
        response = problem(400, "the body is not what its Content-Encoding says")
        response.force_close()  # where the next request begins, nobody knows
        return response
    except Exception:
        if request.transport is None:  # the client has gone, or was cut off: nobody reads an answer
            return problem(400, "the connection was closed before the request was complete")
        log.exception("a request failed", path=request.path)
        return problem(500, "the bridge failed; this is a bug", "its log says where")


def _short(error: Exception) -> str:
    """The database's own words, without the statement and its values."""
    return str(getattr(error, "orig", None) or error)


def busy() -> web.Response:
    """Answer 503: the client is to come again. What it has not sent yet is not read."""
    response = problem(
        503, "the bridge has too much to do at once; try again", "Alertmanager does so by itself"
    )
    response.headers["Retry-After"] = "1"
    response.force_close()
    return response


class TooLarge(Exception):
    """The body is over the limit."""


async def read_body(request: web.Request, limit: int, grow: Callable[[int], None] = lambda _: None) -> bytes:
    """Read a body of at most `limit` bytes, also after decompression. Raises TooLarge, or as `grow` does.

    That is asked for room before anything is kept.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge
    body = bytearray()
    async for chunk in request.content.iter_any():
        if len(body) + len(chunk) > limit:
            raise TooLarge
        grow(len(chunk))
        body += chunk
    return bytes(body)
