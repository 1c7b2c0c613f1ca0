"""A sample of every kind of message: for `receiver notices test`, for the doctor, and to try templates on."""

from decimal import Decimal

from msgspec.structs import replace

from receiver.core.types import Image, NoticeEvent, Report, TaskError
from receiver.providers.models import MODELS, OUTPAINT

DIGEST = "digest"
_REF = "01997b3c-7f00-7abc-8def-0123456789ab"
_DONE = Report(
    event=NoticeEvent.COMPLETED,
    ref=_REF,
    task_id="d8ejq0s3k1",
    label="a test",
    model=OUTPAINT,
    prompt="This is only a test: a quiet sea under four skies, <oil on canvas> & more",
    images=tuple(Image(number, f"https://example.com/{number}.png?size=full&sig=a1b2") for number in range(4)),
    cost=Decimal("0.05"),
    duration_ms=42_000,
)
_FAILED = Report(
    event=NoticeEvent.FAILED,
    ref=_REF,
    label="a test",
    model=OUTPAINT,
    prompt="This is only a test: a quiet sea",
    error=TaskError(MODELS[OUTPAINT].failed_code, "this is only a test, nothing failed"),
    duration_ms=9_100,
)
_LOST = Report(event=NoticeEvent.LOST, ref=_REF, task_id="d8ejq0s3k1", label="a test", model=OUTPAINT)
_ATTENTION = Report(
    event=NoticeEvent.ATTENTION,
    ref=_REF,
    label="a test",
    cause="unsure",
    text="This is only a test: it is unclear whether the provider took a test, so it is not sent again. Nothing needs "
    "to be done.",
)
_BATCH = Report(
    event=NoticeEvent.BATCH,
    batch="a-test",
    text="10 of 12 completed, 2 failed (2 × this is only a test, nothing failed), $0.50 in 4 min 5 s",
    failed=True,
    rows={"completed": 10, "failed": 2},
    cost=Decimal("0.50"),
    duration_ms=245_000,
)
SAMPLES: dict[str, tuple[Report, ...]] = {
    NoticeEvent.COMPLETED.value: (_DONE,),
    NoticeEvent.FAILED.value: (_FAILED,),
    NoticeEvent.LOST.value: (_LOST,),
    NoticeEvent.ATTENTION.value: (_ATTENTION,),
    NoticeEvent.BATCH.value: (_BATCH,),
    DIGEST: tuple(
        replace(report, ref=f"{_REF[:-1]}{number}", label=f"test {number}")
        for number, report in enumerate((_DONE, _FAILED, _DONE, _ATTENTION), 1)
    ),
}
"""One message each, by its event; `digest` is several reports in one message."""

SAMPLE_NAMES = {
    NoticeEvent.COMPLETED.value: "a completed task",
    NoticeEvent.FAILED.value: "a failed task",
    NoticeEvent.LOST.value: "a lost task",
    NoticeEvent.ATTENTION.value: "an attention",
    NoticeEvent.BATCH.value: "a finished batch",
    DIGEST: "a digest",
}
