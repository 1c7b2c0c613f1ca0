"""What Midjourney's own API refuses, though the provider's pages do not say so. A strict sandbox refuses it. Pure."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from receiver.providers.declarations import JobFeed, Model
from receiver.providers.vtrix.follow_rules import Answer, judge_follow
from receiver.sandbox.tasks import SandboxTask


class Refusal(Struct, frozen=True):
    """An answer that takes nothing, as the upstream words it."""

    status: int
    reason: str
    message: str

    @property
    def body(self) -> dict[str, object]:
        """The answer's body."""
        return {"code": self.status, "message": self.message, "reason": self.reason}


def refuse_step(model: Model, params: Mapping[str, Any], source: SandboxTask | None) -> Refusal | None:
    """Why a job that was named cannot be gone on from; None if it can, or none was named. `source` is its task."""
    if not isinstance(model.feed, JobFeed) or not params.get(model.feed.job):
        return None
    if source is None:
        return Refusal(404, "Job_Not_Found", "the job is not known here")
    place = params.get(model.feed.place) if model.feed.place else None
    if isinstance(place, int) and place >= len(source.pictures):
        return Refusal(
            400, "Invalid_Argument", f"the job has {len(source.pictures)} results, and none is number {place}"
        )
    ruling = judge_follow(source.traits, model.name)
    return Refusal(405, "Not_Support", ruling.text) if ruling.answer is Answer.UNLIKELY else None
