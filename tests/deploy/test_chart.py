"""The Helm chart: what it makes is what Kubernetes takes, lets nobody in, and is what the bridge understands."""

import itertools
import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from charts import (
    CHART,
    ROOT,
    SHAPES,
    configuration,
    container,
    known_to_the_operator,
    of_kind,
    pod,
    refused,
    resources,
    run,
    template,
    walk,
)
from charts import helm as run_helm

from bridge.cli import main
from bridge.config import check_config

VERSIONS = ("1.25", "1.37")
"""The oldest that the chart takes, and the newest that can be asked."""

OPERATOR = "monitoring.coreos.com/"
EVERYTHING = (
    'podLabels={"team":"x"}',
    'podAnnotations={"a":"b"}',
    'nodeSelector={"disk":"ssd"}',
    'tolerations=[{"operator":"Exists"}]',
    'priorityClassName="system-cluster-critical"',
    'image.pullSecrets=[{"name":"registry"}]',
    'image.digest="sha256:' + "0" * 64 + '"',
    'heartbeat.secret="outside"',
    'extraEnv=[{"name":"PGPASSFILE","value":"/x"}]',
    'web.configFile="web.yaml"',
    'web.routePrefix="/pushkit"',
    'persistence.storageClass="fast"',
    "alertmanagerConfig.enabled=true",
    'alertmanagerConfig.httpConfig={"authorization":{"credentials":{"name":"s","key":"token"}}}',
    "serviceMonitor.enabled=true",
    'serviceMonitor.endpoint={"authorization":{"credentials":{"name":"s","key":"token"}}}',
)
"""Values that the shapes' own files leave alone."""


# --- what others say of it ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_helm_finds_nothing_to_say_of_a_shape(shape: str) -> None:
    said = run_helm("lint", "--strict", CHART, "-f", CHART / f"{shape}.yaml")
    assert re.findall(r"^\[(?!INFO).*", said, re.MULTILINE) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_shape(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import kubernetes_validate as kubernetes  # from the tools' own folder

    monkeypatch.setattr(kubernetes.utils, "schema_contents", cache(kubernetes.utils.schema_contents))
    for shape, sets in itertools.product(SHAPES, ((), EVERYTHING)):
        made = [one for one in resources(shape, *sets) if not one["apiVersion"].startswith(OPERATOR)]
        for one in (*made, pod(shape, *sets)):
            kubernetes.validate(one, version, strict=True)
    with pytest.raises(kubernetes.ValidationError, match="surprise"):
        kubernetes.validate({**pod("single"), "surprise": 1}, version, strict=True)


def test_the_prometheus_operator_takes_every_shape() -> None:
    for shape, sets in itertools.product(SHAPES, ((), EVERYTHING)):
        made = [one for one in resources(shape, *sets) if one["apiVersion"].startswith(OPERATOR)]
        assert bool(made) == (shape != "single" or bool(sets))
        for one in made:
            known_to_the_operator(one)
    (one,) = of_kind("Alertmanager", "sidecar")
    for where in (one["spec"], one["spec"]["containers"][0], one["spec"]["storage"]):
        where["surprise"] = 1
        with pytest.raises(AssertionError, match="surprise"):
            known_to_the_operator(one)
        del where["surprise"]


# --- safety -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pod_is_as_the_restricted_pod_security_standard_wants_it(shape: str) -> None:
    spec, bridge = pod(shape)["spec"], container(shape)
    safety = bridge["securityContext"]
    assert safety["allowPrivilegeEscalation"] is False
    assert safety["capabilities"] == {"drop": ["ALL"]}
    for one in (spec["securityContext"], safety):
        assert one["runAsNonRoot"] is True
        assert one["seccompProfile"] == {"type": "RuntimeDefault"}
        assert one["runAsUser"] > 0
    kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    forbidden = {
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostPort",
        "privileged",
        "procMount",
        "hostPath",
        "sysctls",
    }
    assert not {key for path, _ in walk(spec) for key in path} & forbidden


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pod_writes_to_its_state_alone_and_knows_no_token_of_kubernetes(shape: str) -> None:
    assert container(shape)["securityContext"]["readOnlyRootFilesystem"] is True
    writable = [one["mountPath"] for one in container(shape)["volumeMounts"] if not one.get("readOnly")]
    assert writable == ([] if shape == "replicas" else ["/var/lib/pushkit-bridge"])
    if shape != "sidecar":
        assert pod(shape)["spec"]["automountServiceAccountToken"] is False


SECRETS = {
    "apns.key": '{"key": "-----BEGIN PRIVATE KEY-----"}',
    "apns.proxy": '{"proxy": "http://user:password@proxy:3128"}',
    "storage.password": '{"password": "x"}',
    "storage.url": '{"url": "postgresql://bridge:secret@db/bridge"}',
    "sources.0.credentials": '[{"name": "a", "credentials": "x"}]',
    "alertmanager.basic_auth.password": '{"basic_auth": {"username": "b", "password": "x"}}',
    "alertmanager.authorization.credentials": '{"authorization": {"credentials": "x"}}',
    "devices.0.voip_token": '[{"name": "a", "voip_token": "x"}]',
    "devices.0.alert_token": '[{"name": "a", "alert_token": "x"}]',
    "schedules.0.ical_url": '[{"name": "a", "ical_url": "https://x/y"}]',
    "receivers.0.escalation.0.webhooks.0.url": '[{"escalation": [{"webhooks": [{"url": "https://x/y"}]}]}]',
}


@pytest.mark.parametrize("path", SECRETS)
def test_a_secret_in_place_is_refused_and_not_shown(path: str) -> None:
    said = refused("replicas", f"config.inline.{path.partition('.')[0]}={SECRETS[path]}")
    assert "would show these secrets" in said
    assert path in said
    assert "PRIVATE" not in said


def test_the_chart_knows_every_key_that_holds_a_secret() -> None:
    """Each has a twin that ends in _file; the rest of those are no secrets, or fit nowhere but in a file."""
    twins: set[str] = set()
    for file in (ROOT / "bridge/config").glob("*.py"):
        twins |= set(re.findall(r"^    (\w+)_file: ", file.read_text(), re.MULTILINE))
    public = {"certificate", "certificate_key", "ca", "cert", "config", "ical"}
    assert twins - public == {path.rpartition(".")[2] for path in SECRETS}


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_that_a_shape_makes_holds_a_secret(shape: str) -> None:
    assert of_kind("Secret", shape) == []
    sources = [
        one
        for volume in pod(shape)["spec"]["volumes"]
        for one in volume.get("projected", {}).get("sources", [])
    ]
    assert [next(iter(one)) for one in sources] == ["configMap", "secret"]


def test_a_configuration_can_be_a_secret_and_then_lands_nowhere_else() -> None:
    kept = ("config.inline=null", 'config.existingSecret="whole"')
    assert of_kind("ConfigMap", "replicas", *kept) == []
    (volume,) = pod("replicas", *kept)["spec"]["volumes"]
    first, *_ = volume["projected"]["sources"]
    assert first == {"secret": {"name": "whole", "items": [{"key": "config.yaml", "path": "config.yaml"}]}}


# --- the bridge understands it --------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bridge_takes_a_shapes_configuration(shape: str, tmp_path: Path) -> None:
    text = configuration(shape)
    shutil.copy(ROOT / "examples/AuthKey_DEM0KEY001.p8", tmp_path / "AuthKey_ABC123DEFG.p8")
    shutil.copy(ROOT / "examples/simulator-ca.pem", tmp_path / "postgres-ca.pem")
    for number, name in enumerate(("alice.token", "alice-alert.token", "ledger.password")):
        (tmp_path / name).write_text(f"{number:064x}\n")
    # What the comment beside the Secret's name says of its files is all that there is.
    promised = re.findall(r"name: pushkit-bridge +# (.*)", (CHART / f"{shape}.yaml").read_text())[0].split(
        ", "
    )
    assert sorted(promised) == sorted(set(re.findall(r"(?:_file: |sslrootcert=)(\S+)", text)))
    file = tmp_path / "config.yaml"
    file.write_text(text)
    good, said = check_config(file)
    assert good, said


@pytest.mark.parametrize("sets", [(), EVERYTHING], ids=["as it is", "with everything"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_bridge_takes_its_flags(shape: str, sets: tuple[str, ...]) -> None:
    command, *flags = container(shape, *sets)["args"]
    serve = main.commands[command]
    given = serve.make_context(
        "serve", [flag.replace("$(HEARTBEAT_URL)", "https://out/side") for flag in flags]
    ).params
    assert given["config_file"] == Path("/etc/pushkit-bridge/config.yaml")
    assert given["phone_listen"] == ("127.0.0.1:9096" if shape == "sidecar" else ":9096")
    assert given["phone_external_url"] == (None if shape == "sidecar" else "https://bridge.example.com")


@pytest.mark.parametrize("sets", [(), EVERYTHING], ids=["as it is", "with everything"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_that_points_at_a_pod_finds_it(shape: str, sets: tuple[str, ...]) -> None:
    labels, bridge = pod(shape, *sets)["metadata"]["labels"].items(), container(shape, *sets)
    ports = {port["name"] for port in bridge["ports"]}
    services = of_kind("Service", shape, *sets)
    assert len(services) == (1 if shape == "sidecar" else 2)
    for service in services:
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind in ("PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet"):
        for one in of_kind(kind, shape, *sets):
            selector = one["spec"].get("selector") or one["spec"]["podSelector"]
            assert selector["matchLabels"].items() <= labels, kind
            rules = one["spec"].get("ingress", [])
            assert {port["port"] for rule in rules for port in rule["ports"]} <= ports
    for one in of_kind("ServiceMonitor", shape, *sets):
        wanted = one["spec"]["selector"]["matchLabels"].items()
        assert len([service for service in services if wanted <= service["metadata"]["labels"].items()]) == 1
    for one in of_kind("Ingress", shape, *sets):
        backend = one["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["name"] in {service["metadata"]["name"] for service in services}


def test_probes_commands_and_alertmanager_ask_below_the_prefix() -> None:
    prefixed = ('web.routePrefix="/pushkit/"', 'web.scheme="HTTPS"', 'web.configFile="web.yaml"')
    bridge = container("replicas", *prefixed)
    paths = {bridge[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"/pushkit/-/healthy", "/pushkit/-/ready"}
    assert {"name": "PUSHKIT_BRIDGE_URL", "value": "https://127.0.0.1:9095/pushkit"} in bridge["env"]
    (config,) = of_kind("AlertmanagerConfig", "replicas", *prefixed)
    url = config["spec"]["receivers"][0]["webhookConfigs"][0]["url"]
    assert url == "https://pushkit-bridge.monitoring.svc:9095/pushkit/webhook"


def test_a_bridge_that_fails_does_not_take_its_alertmanager_out_of_service() -> None:
    assert "readinessProbe" not in container("sidecar")
    assert "livenessProbe" in container("sidecar")


def test_the_outside_url_is_in_no_flag() -> None:
    bridge = container("single", 'heartbeat.secret="outside"')
    assert "--heartbeat.url=$(HEARTBEAT_URL)" in bridge["args"]
    (url,) = (one for one in bridge["env"] if one["name"] == "HEARTBEAT_URL")
    assert url["valueFrom"] == {"secretKeyRef": {"name": "outside", "key": "url"}}


def test_another_configuration_makes_other_pods() -> None:
    def checksum(*sets: str) -> str:
        return str(pod("single", *sets)["metadata"]["annotations"]["checksum/config"])

    assert checksum('log.level="debug"') == checksum()
    assert checksum('config.inline.quiet_gap="1m"') != checksum()


# --- the values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (("config.inline={}",), "give the bridge a configuration"),
        (('config.existingSecret="x"',), "not both"),
        (('config.inline.storage.url="sqlite:////data/bridge.db"',), "must lie below"),
        (('shape="replicas"',), "cannot share an SQLite file"),
        (('shape="sidecar"',), "share no enrolments"),
        (('phone.ingress.host=""',), "needs a host"),
        (('shape="cluster"',), "shape"),
        (("replica=3",), "replica"),
        (('web.scheme="http"',), "scheme"),
        (("terminationGracePeriodSeconds=5",), "terminationGracePeriodSeconds"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_installed(sets: tuple[str, ...], says: str) -> None:
    assert says in refused("single", *sets)


def test_the_schema_has_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def agree(described: dict[str, Any], given: dict[str, Any], at: str = "") -> None:
        assert described.keys() - {"global"} == given.keys(), at
        for key, value in described.items():
            if "properties" in value:
                agree(value["properties"], given[key], f"{at}.{key}")

    agree(schema["properties"], values)


def test_the_manifests_are_what_the_chart_makes_today(tmp_path: Path) -> None:
    done = run("scripts/manifests", tmp_path)
    assert done.returncode == 0, done.stderr
    for shape in SHAPES:
        kept, made = (folder / f"{shape}.yaml" for folder in (ROOT / "deploy/manifests", tmp_path))
        assert kept.read_text() == made.read_text(), "run `make manifests`"
        assert len(list(yaml.safe_load_all(kept.read_text()))) == len(resources(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_notes_name_commands_and_pods_that_are_there(shape: str) -> None:
    told = run_helm(
        "install", "b", CHART, "-n", "monitoring", "-f", CHART / f"{shape}.yaml", "--dry-run=client"
    )
    notes = told.partition("NOTES:")[2]
    made = template(shape).replace("name: pushkit-bridge", "name: b-pushkit-bridge")
    for kind, name in re.findall(r"(service|deployment|statefulset)/(\S+)", notes):
        assert any(
            one["kind"].lower() == kind and one["metadata"]["name"] == name
            for one in yaml.safe_load_all(made)
        )
    commands = re.findall(r"-- pushkit-bridge ([a-z]+) ([a-z]+)", notes)
    assert commands
    for group, name in commands:
        found = main.get_command(click.Context(main), group)
        assert isinstance(found, click.Group)
        assert found.get_command(click.Context(found), name) is not None, notes
