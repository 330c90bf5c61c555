"""What deploy/ has beside Kubernetes: each file is read by the program that it is for."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from charts import CHART, ROOT, run

from bridge.children import find_program
from bridge.cli import main

SERVICE = ROOT / "deploy/systemd/pushkit-bridge.service"
COMPOSE = ROOT / "deploy/docker-compose.yml"
STATE = "/var/lib/pushkit-bridge"


def given(command: list[str]) -> dict[str, object]:
    """What `serve` makes of a command line."""
    name, *flags = command
    return dict(main.commands[name].make_context(name, flags).params)


# --- systemd ------------------------------------------------------------------------------------


def directives(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", SERVICE.read_text(), re.MULTILINE)


def test_systemd_finds_nothing_to_say_of_the_unit(tmp_path: Path) -> None:
    here = tmp_path / SERVICE.name
    program = Path(sys.executable).with_name("pushkit-bridge")
    here.write_text(SERVICE.read_text().replace("/opt/pushkit-bridge/bin/pushkit-bridge", str(program)))
    done = run(find_program("systemd-analyze", package="systemd"), "verify", "--man=no", here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_is_as_well_closed_as_systemd_can_judge() -> None:
    """0 is a prison, 10 a machine's root; a service as Debian ships it has 9.6."""
    analyze = find_program("systemd-analyze", package="systemd")
    done = run(analyze, "security", "--offline=true", "--no-pager", "--threshold=15", SERVICE)
    assert done.returncode == 0, done.stdout


def test_the_unit_starts_the_bridge_and_a_reload_checks_before_it_asks() -> None:
    (start,) = directives("ExecStart")
    program, *command = start.removesuffix(" $FLAGS").split()
    assert program == "/opt/pushkit-bridge/bin/pushkit-bridge"
    assert given(command)["config_file"] == Path("/etc/pushkit-bridge/config.yaml")
    check, ask = directives("ExecReload")
    assert check == f"{program} check-config /etc/pushkit-bridge/config.yaml"
    assert ask == "/bin/kill -HUP $MAINPID"
    assert directives("Type") + directives("NotifyAccess") == ["notify", "main"]
    assert [f"/var/lib/{name}" for name in directives("StateDirectory")] == [STATE]


def test_the_users_file_makes_the_user_of_the_unit(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = find_program("systemd-sysusers", package="systemd")
    done = run(users, f"--root={tmp_path}", ROOT / "deploy/systemd/pushkit-bridge.sysusers")
    assert done.returncode == 0, done.stderr
    (user,) = directives("User")
    assert re.search(rf"^{user}:.*:{STATE}:", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)


# --- Compose --------------------------------------------------------------------------------------


def interpolated() -> str:
    """The file as Compose reads it where only what must be set is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    return re.sub(r"\$\{PHONE_EXTERNAL_URL:\?[^}]*\}", "https://bridge.example.com", text)


def test_the_compose_file_is_one() -> None:
    from compose_spec import PyCompose  # from the tools' own folder

    made = PyCompose.from_yaml(interpolated())
    made.validate()
    assert made.to_dict()["services"].keys() == {"bridge"}
    with pytest.raises(ValueError, match="surprise"):
        PyCompose.from_yaml(interpolated().replace("read_only:", "surprise:"))


def test_the_compose_file_runs_the_image_closed_and_with_a_ledger_that_stays() -> None:
    compose = yaml.safe_load(interpolated())
    bridge = compose["services"]["bridge"]
    assert given(bridge["command"])["phone_external_url"] == "https://bridge.example.com"
    assert bridge["read_only"] is True
    assert bridge["cap_drop"] == ["ALL"]
    assert f"ledger:{STATE}" in bridge["volumes"]
    assert "ledger" in compose["volumes"]
    assert "./config:/etc/pushkit-bridge:ro" in bridge["volumes"]
    # Nothing but this machine reaches it before somebody wants that.
    assert all(port.startswith("127.0.0.1:") for port in bridge["ports"])


# --- all of it --------------------------------------------------------------------------------------


def test_everything_gives_the_bridge_longer_to_end_than_it_takes() -> None:
    from bridge.front import DRAIN

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    compose = yaml.safe_load(COMPOSE.read_text())["services"]["bridge"]
    stops = [
        *directives("TimeoutStopSec"),
        compose["stop_grace_period"].removesuffix("s"),
        values["terminationGracePeriodSeconds"],
    ]
    assert all(int(seconds) > 4 * DRAIN for seconds in stops)
