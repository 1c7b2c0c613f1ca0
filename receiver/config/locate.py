"""Which settings file applies, and from where its relative paths count, so that one file means one database.

The file of this machine's unit brings the unit's state directory and the secrets beside it, so that root's commands
find what the service uses.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from receiver.config.read import file_exists
from receiver.config.value_kinds import sqlite_path

ENV_PREFIX = "RECEIVER_"
FILE_VARIABLE = f"{ENV_PREFIX}CONFIG"
SETTINGS_FILE = "receiver.toml"
# of the unit systemd/receiver.service; a shell does not have its environment
UNIT_SETTINGS = Path("/etc/receiver/receiver.toml")
UNIT_DATABASE = Path("/var/lib/receiver/receiver.db")
_SAYS_WHERE = (f"{ENV_PREFIX}DATABASE_URL", "DATABASE_URL", f"{ENV_PREFIX}STATE_DIR", "STATE_DIRECTORY")


class SettingsPlace(Struct, frozen=True):
    """A settings file, and what belongs to it."""

    file: Path
    named: bool  # by an option or the environment; then it has to exist
    found: bool  # by looking for the unit's, which nobody named
    state: str  # the state directory that systemd gives, or the unit's; else ""
    state_source: str  # what gave it

    @property
    def folder(self) -> Path:
        """From where relative paths count. Systemd hands the unit a copy of its file, so there it is the state."""
        return Path(self.state) if self.state else self.file.parent

    @property
    def secrets(self) -> Path | None:
        """Where secrets lie beside the file, each under its setting's name: the unit gets them as credentials."""
        return self.file.parent if self.file.absolute() == UNIT_SETTINGS else None

    def resolve_url(self, database_url: str) -> str:
        """An SQLite URL with its relative path put under `folder`; any other text as it is."""
        path = sqlite_path(database_url)
        return database_url if path is None or not path.name else f"sqlite:///{self.folder / path}"


def find_settings_place(env: Mapping[str, str], given: Path | None) -> SettingsPlace:
    """The settings file: the `given` one, RECEIVER_CONFIG's, ./receiver.toml, or, for root, that of the unit.

    An environment that says itself where the data are gets the unit's only if it names it.
    """
    named = given or (Path(text) if (text := env.get(FILE_VARIABLE, "").strip()) else None)
    file = named or Path(SETTINGS_FILE)
    found = (
        named is None
        and os.geteuid() == 0
        and not any(env.get(name, "").strip() for name in _SAYS_WHERE)
        and not file_exists(file, SETTINGS_FILE)
        and file_exists(UNIT_SETTINGS, str(UNIT_SETTINGS))
    )
    file = UNIT_SETTINGS if found else file
    state = env.get("STATE_DIRECTORY", "").split(":")[0]
    if not state and file.absolute() == UNIT_SETTINGS:
        return SettingsPlace(file, named is not None, found, str(UNIT_DATABASE.parent), f"the unit of {file}")
    return SettingsPlace(file, named is not None, found, state, "environment STATE_DIRECTORY")
