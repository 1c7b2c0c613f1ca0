"""Checks whether each target can be used, as far as that can be known without sending."""

from collections.abc import Iterator, Sequence

from receiver.core.types import Target
from receiver.notify.messages.template import check_template, show_sample
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
            yield failure(f"{target.name}: {wrong.problem}", wrong.remedy or "fix its url")
        elif target.template is not None and (broken := check_template(target.template, target.style)):
            remedy = f"fix {target.template_file or 'the template'}"
            yield warning(f"{target.name}: its template fails, so messages use the built-in one: {broken}", remedy)
        else:
            yield ok(f"{target.name}: Apprise accepts its URL")
            if target.template is not None:
                yield ok(f"{target.name}: its template writes: {show_sample(target.template, target.style)}")
        if unknown := check_model_globs(target.models):
            yield warning(f"{target.name}: {unknown.problem}", f"fix its models; {unknown.remedy}")
