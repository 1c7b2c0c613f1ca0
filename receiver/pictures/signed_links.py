"""Public links: to a task's page, and signed links to a file of the archive, which work until they expire.

A signed link is `PUBLIC_URL/images/FOLDER/FILE?until=SECONDS&mac=MAC`. The MAC covers folder, file and expiry, with a
purpose of its own, so that no link opens another file, nor the same file for longer. Pure, except for the clock.
"""

from urllib.parse import urlencode

from receiver.client.schemas import image_path
from receiver.core.types import Clock
from receiver.tokens import MacPurpose, Ring

PICK_PREFIX = "/pick/"
LASTS_S = 30 * 86_400  # at least
_STEP_S = 86_400  # all links made on one day expire together, so that caches see the same URL
_UNTIL_DIGITS = 12


class SignedLinks:
    """The links of the service at `public_url` (without a trailing slash).

    There are none unless the service is `reachable` from outside: chat services fetch pictures from their own machines,
    and a message full of dead links is worse than one without. Tasks have links once there are `pages`.
    """

    def __init__(self, ring: Ring, public_url: str, clock: Clock, *, reachable: bool, pages: bool = False) -> None:
        self._ring = ring
        self._base = public_url.rstrip("/")
        self._clock = clock
        self._reachable = reachable
        self._pages = pages

    def task_url(self, ref: str) -> str | None:
        """The URL of a task's page, which asks for a login."""
        return f"{self._base}/tasks/{ref}" if self._reachable and self._pages else None

    def image_url(self, folder: str, file: str) -> str | None:
        """The URL of a file of the archive; it needs no login and works for `LASTS_S` seconds, up to a day longer."""
        return f"{self._base}{self.image_path(folder, file)}" if self._reachable else None

    def pick_url(self, ref: str, image_no: int) -> str:
        """The URL of the page on which a person picks this picture of a task. Whoever has it can do so.

        There is one even if nobody outside can reach it: a person may sit beside the service.
        """
        return f"{self._base}{self.pick_path(ref, image_no)}"

    def pick_path(self, ref: str, image_no: int) -> str:
        """The same without the host."""
        return f"{PICK_PREFIX}{self._ring.pick_token(ref, image_no)}"

    @property
    def is_reachable(self) -> bool:
        """Whether links work from other machines."""
        return self._reachable

    def image_path(self, folder: str, file: str, *, end: int | None = None) -> str:
        """The path and the query of a signed link. If `end` (milliseconds) is sooner, the link expires then."""
        until = -(-(self._clock() // 1000 + LASTS_S) // _STEP_S) * _STEP_S
        if end is not None:
            until = min(until, end // 1000)
        query = urlencode(
            {"until": until, "mac": self._ring.sign(MacPurpose.IMAGE, _mac_payload(folder, file, str(until)))}
        )
        return f"{image_path(folder, file)}?{query}"

    def is_valid(self, folder: str, file: str, until: str, mac: str, now: int) -> bool:
        """Whether the link's MAC is ours and its `until` (text, seconds) is still ahead of `now` (milliseconds)."""
        if not (until.isascii() and until.isdigit() and len(until) <= _UNTIL_DIGITS):
            return False
        return self._ring.verify(MacPurpose.IMAGE, _mac_payload(folder, file, until), mac) and int(until) * 1000 > now


def _mac_payload(folder: str, file: str, until: str) -> str:
    return f"{folder}/{file}:{until}"
