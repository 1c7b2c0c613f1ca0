"""Settings: what they are, where they come from, and how they are shown to people.

Every value is checked here, and the one that is wrong is named. Acting on a setting is left to `service.wiring` and the
commands.
"""

from receiver.config.locate import ENV_PREFIX, FILE_VARIABLE, SETTINGS_FILE, UNIT_DATABASE, UNIT_SETTINGS, SettingsPlace
from receiver.config.password_hash import PasswordSource, read_password_hash
from receiver.config.postgres_url import refuse_missing_driver
from receiver.config.settings import (
    Settings,
    ensure_secrets,
    is_public,
    load_settings,
    local_token,
    secret_values,
    warn_of_plain_http,
    why_unreachable,
)
from receiver.config.settings_table import SETTINGS, Setting
from receiver.config.value_kinds import AllowedHosts, Network

__all__ = [
    "ENV_PREFIX",
    "FILE_VARIABLE",
    "SETTINGS",
    "SETTINGS_FILE",
    "UNIT_DATABASE",
    "UNIT_SETTINGS",
    "AllowedHosts",
    "Network",
    "PasswordSource",
    "Setting",
    "Settings",
    "SettingsPlace",
    "ensure_secrets",
    "is_public",
    "load_settings",
    "local_token",
    "read_password_hash",
    "refuse_missing_driver",
    "secret_values",
    "warn_of_plain_http",
    "why_unreachable",
]
