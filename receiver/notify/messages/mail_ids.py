"""The ids of a mail: the same message sent twice has one id, and all mails about one task are one thread."""

import hashlib

from receiver.core.types import Report
from receiver.notify.messages.message import MailIds
from receiver.tokens import is_ref


def mail_ids(reports: tuple[Report, ...], key: str) -> MailIds:
    """The ids of a mail about `reports`. `key` names the send; without one, the mail's own id is left to the sender."""
    refs = {report.ref for report in reports}
    ref = reports[0].ref if len(refs) == 1 else None
    thread = f"task.{ref}" if ref is not None and is_ref(ref) else None
    return MailIds(f"ping.{hashlib.sha256(key.encode()).hexdigest()[:32]}" if key else None, thread)
