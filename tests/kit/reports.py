"""What messages are about in their tests: reports, hostile words, and links to us."""

from decimal import Decimal

from receiver.core.types import Error, Event, Image, Picture, Report, Style, Target

REF = "01997b3c-7f00-7abc-8def-0123456789ab"
HOSTILE = (
    "<!channel> @here <http://evil.example|our page> {{app_title}} *b* _i_ `c` [l](http://evil.example) :tada:"
    "\r\n\u202eevil\u2066 \x1b[31m\x00 <script>alert(1)</script> \ud800"
)
SHEET = Picture("images/ab/r/sheet.jpg", "https://ping.example.org/images/r/sheet.jpg?until=1767600000&mac=abc")
FILE = Picture("images/ab/r/sheet.jpg")


class Pages:
    """Where the world reaches us."""

    def task(self, ref: str) -> str | None:
        return f"https://ping.example.org/tasks/{ref}"

    def image(self, folder: str, file: str) -> str | None:
        return f"https://ping.example.org/images/{folder}/{file}"


def styled(style: Style, template: str | None = None) -> Target:
    return Target(name=style.value, url=f"json://{style}.invalid/", style=style, template=template)


def pictures(count: int) -> tuple[Image, ...]:
    return tuple(Image(n, f"https://cdn.example.com/{n}.png?sig=a%2Fb&x=1") for n in reversed(range(count)))


def done(**more: object) -> Report:
    return Report(**{"event": Event.COMPLETED, "ref": REF, "label": "hero", **more})  # type: ignore[arg-type]


DONE = done(
    model="midjourney_outpaint",
    prompt="a lighthouse & its <keeper>",
    images=pictures(4),
    cost=Decimal("0.05"),
    duration_ms=72_400,
)
FAILED = Report(
    event=Event.FAILED, ref="r2", label="poster", prompt="a *bold* claim", error=Error("004007098", "no <luck>")
)
LOST = Report(event=Event.LOST, ref="r3", task_id="d8ejq")
ATTENTION = Report(event=Event.ATTENTION, cause="provider-key", text="The provider refuses our key.\nSet it anew.")
