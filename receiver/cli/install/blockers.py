"""Why `receiver install` cannot be run on this machine: no root, no systemd, folders that are unsafe or in the way."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from receiver.cli.install.program import InstalledProgram


def find_blockers(settings: Path, state: Path, called: InstalledProgram, *, uninstall: bool) -> Iterator[str]:
    """Every blocker, with its remedy. `settings` and `state` are the folders of both."""
    if os.geteuid():
        yield "only root can install a service; run this with sudo"
    if not Path("/run/systemd/system").is_dir():
        yield "systemd does not run here; run `receiver serve` yourself, or put the files elsewhere with --root DIR"
    if not uninstall:
        yield from check_settings_folder(settings)
        yield from check_state_dir(state)
        yield from called.find_blockers()


def check_settings_folder(folder: Path) -> Iterator[str]:
    """What is wrong with the settings' folder: a user who may write there, or above, could replace the settings."""
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):  # also where we may not look
        yield f"{folder} is not a directory; move it away"
        return
    place = folder.resolve()
    for each in (place, *place.parents):
        state = each.stat()
        others = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not state.st_mode & stat.S_ISVTX
        if others or state.st_uid not in (0, os.geteuid()):
            yield f"users other than root may change {each}; chown root: {each} && chmod go-w {each}"


def check_state_dir(state: Path) -> Iterator[str]:
    """What keeps systemd from linking the state directory, which for a DynamicUser is in a folder closed to others."""
    kept = state.parent / "private" / state.name
    if state.is_symlink():
        if state.readlink() not in (kept, kept.relative_to(state.parent)):
            yield f"{state} is a link to {state.readlink()}: move its target to {kept}, and remove the link"
    elif os.path.ismount(state):
        yield f"{state} is a mount point: mount that at {kept}, and remove {state}"
    elif os.path.lexists(state) and (not os.path.isdir(state) or os.path.lexists(kept)):
        yield f"{state} is in the way of systemd's link to {kept}: move it away"
