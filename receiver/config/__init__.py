"""The settings: a table of them, where they are read, and how they are shown."""

from receiver.config.settings import (
    ENV_PREFIX,
    SETTINGS_FILE,
    UNIT_DATABASE,
    Settings,
    ensure_secrets,
    is_public,
    load_settings,
    local_token,
    secret_values,
    why_unreachable,
)
from receiver.config.settings_table import SETTINGS, Setting
from receiver.config.value_kinds import AllowedHosts, Network

__all__ = [
    "ENV_PREFIX",
    "SETTINGS",
    "SETTINGS_FILE",
    "UNIT_DATABASE",
    "AllowedHosts",
    "Network",
    "Setting",
    "Settings",
    "ensure_secrets",
    "is_public",
    "load_settings",
    "local_token",
    "secret_values",
    "why_unreachable",
]
