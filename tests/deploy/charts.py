"""The Helm chart, rendered by the real helm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/pushkit-bridge"
SHAPES = ("single", "replicas", "sidecar")


TOOLS = Path(sys.prefix, "deploy")
"""What `make test` installs to judge deploy/, apart from what the other tests see."""

if not (TOOLS / "ready").exists():
    pytest.skip("what judges deploy/ is not there: make .venv/deploy/ready", allow_module_level=True)
sys.path.append(str(TOOLS))


def run(*command: object) -> subprocess.CompletedProcess[str]:
    texts = [str(part) for part in command]
    return subprocess.run(texts, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)


def helm(*arguments: object) -> str:
    done = run(TOOLS / "helm", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def template(shape: str, *sets: str) -> str:
    """What the chart makes of a shape's own values, with `--set-json` of some more."""
    more = (f"--set-json={one}" for one in sets)
    return helm("template", "pushkit-bridge", CHART, "-n", "monitoring", "-f", CHART / f"{shape}.yaml", *more)


def resources(shape: str, *sets: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(template(shape, *sets)) if one]


def of_kind(kind: str, shape: str, *sets: str) -> list[dict[str, Any]]:
    return [one for one in resources(shape, *sets) if one["kind"] == kind]


def pod(shape: str, *sets: str) -> dict[str, Any]:
    """The pod with the bridge; of an Alertmanager as far as the chart says something of it."""
    for one in resources(shape, *sets):
        if one["kind"] in {"Deployment", "StatefulSet"}:
            made = one["spec"]["template"]
            return {"apiVersion": "v1", "kind": "Pod", **made, "metadata": {"name": "p", **made["metadata"]}}
        if one["kind"] == "Alertmanager":
            kept = ("securityContext", "containers", "volumes", "topologySpreadConstraints")
            # What the Operator adds by itself.
            labels = {"alertmanager": one["metadata"]["name"], "app.kubernetes.io/name": "alertmanager"}
            made = one["spec"]["podMetadata"]
            metadata = {"name": "p", **made, "labels": labels | made.get("labels", {})}
            spec = {key: one["spec"][key] for key in kept}
            spec["volumes"] = [*spec["volumes"], {"name": "state", "emptyDir": {}}]
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    raise AssertionError(f"{shape} has no pod")


def container(shape: str, *sets: str) -> dict[str, Any]:
    (found,) = pod(shape, *sets)["spec"]["containers"]
    return found


def refused(shape: str, *sets: str) -> str:
    """What helm says to values that the chart does not take."""
    more = (f"--set-json={one}" for one in sets)
    done = run(TOOLS / "helm", "template", "b", CHART, "-f", CHART / f"{shape}.yaml", *more)
    assert done.returncode != 0, done.stdout
    return done.stderr


def configuration(shape: str) -> str:
    """The bridge's configuration, as its pod sees it."""
    (found,) = of_kind("ConfigMap", shape)
    return str(found["data"]["config.yaml"])


def walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from walk(one, (*path, key))


def known_to_the_operator(one: dict[str, Any]) -> None:
    """Its model drops keys that it does not know; so what comes out again must be what went in."""
    from cloudcoil.models.prometheus_operator import v1, v1alpha1

    model = getattr(v1 if one["apiVersion"].endswith("/v1") else v1alpha1, one["kind"])
    again = model.model_validate(one).model_dump(mode="json", by_alias=True, exclude_unset=True)
    for path, value in walk(one):
        there: Any = again
        for key in path:
            assert isinstance(there, list) or key in there, f"{one['kind']}: {path} is not known"
            there = there[key]
        assert isinstance(value, dict | list) or str(there) == str(value), path
