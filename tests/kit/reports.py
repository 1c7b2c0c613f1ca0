"""What messages are about in their tests: reports, hostile words, and links to us."""

from decimal import Decimal

from receiver.core.types import AttachedPicture, Image, MessageStyle, NoticeEvent, Report, Target, TaskError

REF = "01997b3c-7f00-7abc-8def-0123456789ab"
HOSTILE = (
    "<!channel> @here <http://evil.example|our page> {{app_title}} *b* _i_ `c` [l](http://evil.example) :tada:"
    "\r\n\u202eevil\u2066 \x1b[31m\x00 <script>alert(1)</script> \ud800"
)
SHEET = AttachedPicture("images/ab/r/sheet.jpg", "https://ping.example.org/images/r/sheet.jpg?until=1767600000&mac=abc")
FILE = AttachedPicture("images/ab/r/sheet.jpg")


class Pages:
    """Where the world reaches us."""

    def task_url(self, ref: str) -> str | None:
        return f"https://ping.example.org/tasks/{ref}"

    def image_url(self, folder: str, file: str) -> str | None:
        return f"https://ping.example.org/images/{folder}/{file}"

    def pick_url(self, ref: str, image_no: int) -> str | None:
        return f"https://ping.example.org/pick/{ref}.{image_no}.mac"


def styled(style: MessageStyle, template: str | None = None) -> Target:
    return Target(name=style.value, url=f"json://{style}.invalid/", style=style, template=template)


def pictures(count: int) -> tuple[Image, ...]:
    return tuple(Image(n, f"https://cdn.example.com/{n}.png?sig=a%2Fb&x=1") for n in reversed(range(count)))


def done(**more: object) -> Report:
    return Report(**{"event": NoticeEvent.COMPLETED, "ref": REF, "label": "hero", **more})  # type: ignore[arg-type]


DONE = done(
    model="midjourney_outpaint",
    prompt="a lighthouse & its <keeper>",
    images=pictures(4),
    cost=Decimal("0.05"),
    duration_ms=72_400,
)
FAILED = Report(
    event=NoticeEvent.FAILED,
    ref="r2",
    label="poster",
    prompt="a *bold* claim",
    error=TaskError("004007098", "no <luck>"),
)
LOST = Report(event=NoticeEvent.LOST, ref="r3", task_id="d8ejq")
ATTENTION = Report(
    event=NoticeEvent.ATTENTION, cause="provider-key", text="The provider refuses our key.\nSet it anew."
)
