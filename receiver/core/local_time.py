"""Times for people, on this machine's clock."""

from datetime import datetime


def format_local(moment: datetime, form: str) -> str:
    """`moment` as `form` says (strftime), with the zone of this machine: `09:16 +01:00`, or `08:16 UTC`."""
    at = moment.astimezone()
    return f"{at.strftime(form)} {at.isoformat()[-6:] if at.utcoffset() else 'UTC'}"
