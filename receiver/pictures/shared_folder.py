"""Whether all processes over one database keep their pictures in one folder: else half of the pictures are not found.

The folder gets a name of its own, in a file that whichever process comes first makes. The database remembers the name
that a process found last. A process that finds another one is somewhere else.
"""

import contextlib
import logging
import re
import secrets
from pathlib import Path

from receiver.atomic_files import atomic_write
from receiver.core.errors import StaleUpdate, StoreUnavailable, UnsafeFile
from receiver.safe_open import open_file
from receiver.store import Store

NAME_FILE = ".name"
_PACE = "pictures"  # the row that holds the name; see `PaceTable`
_NAME = re.compile(r"[0-9a-f]{32}")
_ACTION = {"action": "start.pictures"}

log = logging.getLogger(__name__)


async def warn_of_other_folder(store: Store, folder: Path) -> bool:
    """Log a warning if the process that started last keeps its pictures elsewhere; whether it does.

    Nothing happens over a database of one process. A start does not fail because of it.
    """
    if not store.shared:
        return False
    try:
        name = _read_or_name(folder)
        async with store.write() as tx:
            known = await tx.paces.lock(_PACE, name)
            if known != name:
                await tx.paces.put(_PACE, name)
    except (OSError, ValueError, StoreUnavailable, StaleUpdate, UnsafeFile) as error:
        log.warning("whether all processes share %s could not be found out: %s", folder, error, extra=_ACTION)
        return False
    if known != name:
        log.warning(
            "%s is not the directory in which the process that started last keeps its pictures: each would miss those "
            "of the other; set STATE_DIR to one directory that all processes share (right after a move to another "
            "directory this may be ignored)",
            folder,
            extra=_ACTION,
        )
    return known != name


def _read_or_name(folder: Path) -> str:
    """The folder's name; it gets one if it has none. Raises OSError, UnsafeFile, ValueError."""
    path = folder / NAME_FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), atomic_write(path, replace=False, needs_links=False) as file:
            # what another process has named meanwhile stays
            file.write(secrets.token_hex(16).encode())
    with open(path, "rb", opener=open_file) as stream:
        name = stream.read(64).decode("ascii")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{path} does not hold the name of a folder")
    return name
