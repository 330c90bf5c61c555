"""The configuration file: YAML in, frozen settings out, or every problem at once with its place."""

from bridge.config.console import ConsoleSettings, Role
from bridge.config.loading import load
from bridge.config.problems import ConfigError, Problem
from bridge.config.report import check_config, checked
from bridge.config.settings import (
    DEFAULT,
    AlertmanagerSettings,
    ApnsSettings,
    DeviceSettings,
    Feed,
    Settings,
    Source,
    StorageSettings,
    Templates,
)
from bridge.config.values import Secret, duration

__all__ = [
    "DEFAULT",
    "AlertmanagerSettings",
    "ApnsSettings",
    "ConfigError",
    "ConsoleSettings",
    "DeviceSettings",
    "Feed",
    "Problem",
    "Role",
    "Secret",
    "Settings",
    "Source",
    "StorageSettings",
    "Templates",
    "check_config",
    "checked",
    "duration",
    "load",
]
