"""What Xcode would be told about the app: complete as docs/apple.md asks, and one file to change."""

from __future__ import annotations

import plistlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
APP = ROOT / "ios/App"
PROJECT: dict[str, Any] = yaml.safe_load((APP / "project.yml").read_text())
PLISTS = sorted([*APP.rglob("*.plist"), *APP.rglob("*.entitlements")])


def plist(name: str) -> dict[str, Any]:
    read: dict[str, Any] = plistlib.loads((APP / name).read_bytes())
    return read


def test_every_file_that_the_project_names_is_there() -> None:
    for target in PROJECT["targets"].values():
        for folder in target["sources"]:
            assert list((APP / folder).glob("*.swift")), folder
        settings = target["settings"]["base"]
        assert (APP / settings["INFOPLIST_FILE"]).is_file()
        for wish in ("OnCall", "OnCall-critical"):
            entitlements = settings["CODE_SIGN_ENTITLEMENTS"].replace("$(ONCALL_ENTITLEMENTS)", wish)
            assert (APP / entitlements).is_file()
    for config in PROJECT["configFiles"].values():
        assert (APP / config).is_file()
    assert (APP / PROJECT["packages"]["OnCallCore"]["path"] / "Package.swift").is_file()


def test_the_app_may_do_in_the_background_what_a_call_needs() -> None:
    assert plist("OnCall/Info.plist")["UIBackgroundModes"] == ["audio", "remote-notification", "voip"]
    extension = plist("NotificationService/Info.plist")["NSExtension"]
    assert extension["NSExtensionPointIdentifier"] == "com.apple.usernotifications.service"


def test_app_and_extension_share_one_keychain_group() -> None:
    groups = {
        str(plist(name).get("OnCallKeychainGroup") or plist(name)["keychain-access-groups"][0])
        for name in (str(path.relative_to(APP)) for path in PLISTS)
    }
    assert len(groups) == 1


def test_critical_alerts_are_asked_for_only_where_apple_consented() -> None:
    critical = plist("Config/OnCall-critical.entitlements")
    assert critical.pop("com.apple.developer.usernotifications.critical-alerts") is True
    assert critical == plist("Config/OnCall.entitlements")


@pytest.mark.parametrize("path", PLISTS, ids=lambda path: path.name)
def test_every_setting_that_a_property_list_takes_from_the_build_is_set(path: Path) -> None:
    config = (APP / "Config/OnCall.xcconfig").read_text()
    for name in re.findall(r"\$\((ONCALL_\w+|MARKETING_VERSION|CURRENT_PROJECT_VERSION)\)", path.read_text()):
        assert re.search(rf"^{name}\b", config, re.MULTILINE), name


def test_the_bundle_id_stands_in_one_place_alone() -> None:
    named = [path for path in APP.rglob("*") if path.is_file() and "com.example" in path.read_text()]
    assert named == [APP / "Config/OnCall.xcconfig"]


def test_the_stubs_are_of_every_framework_that_the_app_imports() -> None:
    files = [path.read_text() for path in APP.rglob("*.swift")]
    imported = {name for text in files for name in re.findall(r"^import (\w+)", text, re.MULTILINE)}
    stubs = set((ROOT / "tests/ios/stubs/ORDER").read_text().split())
    assert imported - {"Foundation", "OnCallCore"} == stubs
    assert stubs == {path.stem for path in (ROOT / "tests/ios/stubs").glob("*.swift")}
