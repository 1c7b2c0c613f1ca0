"""What to do about what went wrong, in a sentence each."""

ADVICE_BY_CODE = {
    "004007001": "The job id was missing: give it with --job-id, or --from an earlier task.",
    "004007002": "The image number was missing: give it with --image-no, 0 to 3.",
    "004007003": "The image number was wrong: it counts from 0, so it is 0 to 3.",
    "004007004": "The scale was missing: give it with --scale, 1.1 to 2.0.",
    "004007005": "The scale was wrong: it is 1.1 to 2.0.",
    "004007006": "The provider refused the callback URL: see that PUBLIC_URL is one that it can reach.",
    "004007098": "Submit it again, perhaps with another prompt or picture.",
    "004007099": "The provider was not available: submit it again later.",
}
"""What to do about a provider's error code (its outpaint page). 098 and 099 mean the same for its other models."""

_BY_CAUSE = {code[-3:]: ADVICE_BY_CODE[code] for code in ("004007098", "004007099")}


def advice_for_code(code: str) -> str | None:
    """What to do about a provider's error code, in a sentence; None if nothing is known of it."""
    return ADVICE_BY_CODE.get(code) or (_BY_CAUSE.get(code[-3:]) if len(code) == 9 else None)
