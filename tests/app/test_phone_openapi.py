"""The phones' API is what its OpenAPI document says, and the other way round."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from appworld import World
from handset import Handset
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from bridge.api.phone import PhoneApi

# Schemathesis' own words. `events` never ends and `leave` takes the credential: both have tests of their own.
# What is right by the schema may still be no code and no place in a list; and 1.0, which JSON Schema holds
# for an integer, is none here.
RULES = """
[[operations]]
include-operation-id = ["events", "leave"]
enabled = false

[[operations]]
include-operation-id = ["enrol", "listIncidents", "silence"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 429]

[[operations]]
include-operation-id = ["postReceipt"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404]
parameters = { "path.id" = "CALL" }

[[operations]]
include-operation-id = ["showCall"]
parameters = { "path.id" = "CALL" }
"""


async def served(world: World) -> Any:
    return (await world.ask("GET", f"{world.bridge.bound.phone}/api/v1/openapi.json")).json


async def test_the_document_is_openapi_3_1(world: World) -> None:
    document = await served(world)
    assert document["openapi"] == "3.1.0"
    validate(document, cls=OpenAPIV31SpecValidator)


async def test_the_document_names_every_route_and_no_other(world: World) -> None:
    document = await served(world)
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    app = web.Application()
    PhoneApi(world.bridge.desk, b"").set_up(app)
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routes - told == {("GET", "/-/healthy"), ("GET", "/api/v1/openapi.json")}
    assert told <= routes


async def test_every_shape_says_what_it_is_and_the_streams_are_among_them(world: World) -> None:
    schemas = (await served(world))["components"]["schemas"]
    assert all(schema["description"] for schema in schemas.values())
    assert {"Happened", "CallOver"} <= schemas.keys()


async def test_head_and_other_methods_are_405_and_say_what_is_allowed(world: World) -> None:
    document = await served(world)
    for path, methods in document["paths"].items():
        url = world.bridge.bound.phone + path.replace("{id}", "x").replace("{kind}", "voip")
        for method in {"GET", "PUT", "POST", "DELETE", "PATCH"} - {one.upper() for one in methods}:
            answer = await world.ask(method, url)
            allowed = {one.strip() for one in answer.headers["Allow"].split(",")} - {"HEAD"}
            assert (answer.status, allowed) == (405, {one.upper() for one in methods}), (method, path)
            assert answer.json["error"]


@pytest.mark.real
async def test_whatever_is_sent_the_answer_is_as_the_document_says(stage: World, tmp_path: Path) -> None:
    """Schemathesis makes the requests, right and wrong ones: no 5xx, no status or field that is not described."""
    stage.config["devices"] = []
    stage.alice.profile.behaviour = "silent"
    await stage.start()
    handset = await Handset.enrolled(stage)
    await handset.put(voip_token=stage.alice.profile.voip_token)
    await stage.webhook(stage.alert("A"), stage.alert("B"))
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.replace("CALL", stage.alice.pushes.items[0].payload["call"]["id"]))
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={rules}", "run"),
        f"{stage.bridge.bound.phone}/api/v1/openapi.json",
        f"--header=Authorization: Bearer {handset.credential}",
        *("--max-examples=10", "--continue-on-failure", "--seed=1", "--no-color"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert b"15 selected / 17 total" in said, said.decode()
