"""The settings: a table of them, where they are read, and how they are shown."""

from receiver.config.settings import (
    FILE,
    PREFIX,
    UNIT_DATABASE,
    Settings,
    is_public,
    load,
    local_token,
    secrets,
    sensitive,
    why_unreachable,
)
from receiver.config.settings_table import SETTINGS, Setting
from receiver.config.value_kinds import Allowed, Network

__all__ = [
    "FILE",
    "PREFIX",
    "SETTINGS",
    "UNIT_DATABASE",
    "Allowed",
    "Network",
    "Setting",
    "Settings",
    "is_public",
    "load",
    "local_token",
    "secrets",
    "sensitive",
    "why_unreachable",
]
