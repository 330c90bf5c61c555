"""The OpenAPI 3.1 document, made from the operations themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bridge import __version__
from bridge.api.phone import shapes
from bridge.api.phone.operations import Operation

_REF: Final = "#/components/schemas/{name}"
_WORDS: Final = {
    200: "Done",
    201: "Made",
    204: "Done",
    400: "The request is not as it must be",
    401: "The credential is missing, unknown or revoked",
    404: "There is no such thing for this device",
    413: "The body is too large",
    429: "Too many attempts failed: wait for Retry-After",
    503: "This could not be done now; repeat it",
}
_HEADERS: Final = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    429: {
        "Retry-After": {
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "description": "Seconds.",
        }
    },
}
_PART: Final = {"type": "string", "minLength": 1}
_ACCESS: Final[dict[str, list[dict[str, list[str]]]]] = {
    "open": [],
    "credential": [{"credential": []}],
    "receipt": [{"receiptToken": []}, {"credential": []}],
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Describe the operations."""
    operations = list(operations)
    used = [one.body for one in operations if one.body] + [shapes.Problem, shapes.Happened, shapes.CallOver]
    used += [one.answers for one in operations if not isinstance(one.answers, str)]
    schemas, components = msgspec.json.schema_components(used, ref_template=_REF)
    refs = dict(zip(used, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pushkit-bridge: the phones' API",
            "version": __version__,
            "description": "What a phone that enrolled may see and do; docs/phone-protocol.md has the rest.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "credential": {"type": "http", "scheme": "bearer", "description": "From enrolment."},
                "receiptToken": {"type": "http", "scheme": "bearer", "description": "From the call's push."},
            },
        },
    }


def _operation(one: Operation, refs: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": one.name, "summary": one.summary}
    found["security"] = _ACCESS[one.access]
    said = {name for name, _, _ in one.parameters}
    parts = [(name, "path", _PART) for name in re.findall(r"{(\w+)}", one.path) if name not in said]
    if parameters := [_parameter(*of) for of in (*parts, *one.parameters)]:
        found["parameters"] = parameters
    if one.body is not None:
        content = {"application/json": {"schema": refs[one.body]}}
        found["requestBody"] = {"required": True, "content": content}
    return found | {"responses": _responses(one, refs)}


def _parameter(name: str, where: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _responses(one: Operation, refs: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if isinstance(one.answers, str):
        status = 200 if one.answers else 204
        good: dict[str, Any] = {"description": _WORDS[status]}
        if one.answers:
            good["content"] = {one.answers: {"schema": {"type": "string"}}}
    else:
        status = one.status
        good = {
            "description": _WORDS[status],
            "content": {"application/json": {"schema": refs[one.answers]}},
        }
    refusals = {503, *one.refusals} | (set() if one.access == "open" else {401, 429})
    problem = {"application/json": {"schema": refs[shapes.Problem]}}
    bad = {
        str(code): {"description": _WORDS[code], "content": problem}
        | ({"headers": _HEADERS[code]} if code in _HEADERS else {})
        for code in sorted(refusals)
    }
    return {str(status): good} | bad
