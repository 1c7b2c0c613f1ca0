"""What a person can do about a provider's error code, in one or two sentences each."""

ADVICE_BY_CODE = {
    "004007001": "The job id was missing. Give it with --job-id, or name an earlier task with --from.",
    "004007002": "The image number was missing. Give it with --image-no, from 0 to 3.",
    "004007003": "The image number was wrong. It counts from 0, so the four pictures are 0 to 3.",
    "004007004": "The scale was missing. Give it with --scale, from 1.1 to 2.0.",
    "004007005": "The scale was wrong. It must be from 1.1 to 2.0.",
    "004007006": "The provider refused the callback URL. Check that it can reach PUBLIC_URL.",
    "004007098": "Submit it again, perhaps with another prompt or picture.",
    "004007099": "The provider was not available. Submit it again later.",
    "404": "The provider does not know the job, or the model. Jobs are forgotten after some days: make the picture "
    "once more, and go on from that.",
    "parent_failed": "It was not sent, and cost nothing. Submit the task that it goes on from once more: with "
    "`receiver submit again REF --with-children`, all that went with it follows.",
    "405": "The provider cannot do this with that picture. Choose another picture, or another model.",
}
"""From the provider's page on outpaint. Codes that end in 098 and 099 mean the same for its other models; those of
three digits are HTTP statuses, which Midjourney's own API gives as codes; words are codes of ours."""

_ON_PAGES = {
    "004007001": "the job id was missing. Go on from the picture’s own page once more.",
    "004007002": "the image number was missing. Go on from the picture’s own page once more.",
    "004007003": "the image number was wrong: it counts from 0 to 3. Choose a picture on its own page.",
    "004007004": "the scale was missing. Give one from 1.1 to 2.0, and submit it again.",
    "004007005": "the scale was wrong. Give one from 1.1 to 2.0, and submit it again.",
    "004007006": "the provider refused the callback URL. Check that it can reach PUBLIC_URL.",
    "404": "the provider does not know the job, or the model. Jobs are forgotten after some days: make the picture "
    "once more, and go on from that.",
}
"""The same where a page has a form instead of options; what follows “What to do:”."""

_BY_CAUSE = {code[-3:]: ADVICE_BY_CODE[code] for code in ("004007098", "004007099")}


def advice_for_code(code: str) -> str | None:
    """What to do about a provider's error code; None for an unknown one."""
    return ADVICE_BY_CODE.get(code) or (_BY_CAUSE.get(code[-3:]) if len(code) == 9 else None)


def page_advice(code: str) -> str | None:
    """What to do about a provider's error code, for a page, which has forms and no options; it follows a colon."""
    found = _ON_PAGES.get(code) or advice_for_code(code)
    return found and found[:1].lower() + found[1:]
