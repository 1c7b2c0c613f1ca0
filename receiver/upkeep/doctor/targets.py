"""Checks whether each target can be used, as far as that can be known without sending."""

from collections.abc import Iterator, Sequence

from receiver.core.types import Target
from receiver.notify.messages.template import check_template
from receiver.notify.senders.sender import check_target
from receiver.providers.models import check_model_globs
from receiver.upkeep.doctor.findings import Finding, failure, ok, warning


def check_targets(found: Sequence[Target]) -> Iterator[Finding]:
    """Check that Apprise accepts each URL, that templates render and models are known. Blocks for half a second."""
    if not found:
        yield warning(
            "there are no targets, so nobody is notified", "set RECEIVER_NOTIFY_URLS, or add a [targets.NAME]"
        )
    for target in found:
        if wrong := check_target(target):
            yield failure(*_split_remedy(f"{target.name}: {wrong}"))
        elif target.template is not None and (wrong := check_template(target.template, target.style)):
            remedy = f"fix {target.template_file or 'the template'}"
            yield warning(f"{target.name}: its template fails, so messages use the built-in one: {wrong}", remedy)
        else:
            yield ok(f"{target.name}: Apprise accepts its URL")
        if wrong := check_model_globs(target.models):
            what, _, there_is = wrong.partition("; ")
            yield warning(f"{target.name}: {what}", f"fix its models; {there_is}")


def _split_remedy(text: str) -> tuple[str, str]:
    what, _, remedy = text.partition("; ")
    return what, remedy or "https://appriseit.com/services/ shows the URLs of each service"
