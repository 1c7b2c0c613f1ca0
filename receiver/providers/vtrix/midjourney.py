"""Midjourney's models as the provider serves them, one declaration each.

Ranges and codes are from the provider's page on each model (doc.vtrix.ai/docs/api/midjourney), read in 2026-11. What is
marked `UPSTREAM` is only on the pages of Midjourney's own API for companies (Aliyun's API page 52011132922 and its
guide to v8.1, 54487144897); what is marked `NOBODY` was seen in a client or presumed. To add a model, declare it here
and add it to `MODELS`.
"""

from collections.abc import Mapping
from typing import Any

from receiver.providers.declarations import Draws, JobFeed, Model, UrlFeed
from receiver.providers.geometry import MaskParam, PlaceParam, SizeParam
from receiver.providers.parameters import ChoiceParam, Documented, IntegerParam, NumberParam, TextParam, UrlParam

PREFIX = "midjourney_"
PROMPT_MOST = 8192
_NEW_PART = "Prompt for what is new"
_JOB = JobFeed("jobId", "imageNo")
_VIDEO = JobFeed("jobId", "videoNo")
_URL = UrlFeed("imgUrl")


def _job_id(*, missing_code: str | None = None, required: bool = True) -> TextParam:
    return TextParam(
        name="jobId",
        required=required,
        missing_code=missing_code,
        most=256,  # the provider states no maximum; this is our own bound
        job_id=True,
        help="the jobId in an earlier task's output, not that task's own id",
    )


def _image_no(
    *, missing_code: str | None = None, invalid_code: str | None = None, required: bool = True
) -> IntegerParam:
    return IntegerParam(
        name="imageNo",
        required=required,
        missing_code=missing_code,
        invalid_code=invalid_code,
        least=0,
        most=3,
        help="which of its pictures, from 0 to 3",
        title="Picture",
    )


def _video_no() -> IntegerParam:
    documented = Documented.UPSTREAM
    return IntegerParam(
        name="videoNo",
        required=True,
        least=0,
        most=3,
        documented=documented,
        help="which of its videos, from 0 to 3",
        title="Video",
    )


def _prompt(
    name: str = "remixPrompt",
    *,
    required: bool = False,
    help: str = "what to paint there",  # noqa: A002 - as the field is called
    title: str = "",
) -> TextParam:
    return TextParam(
        name=name, required=required, most=PROMPT_MOST, prompt=True, option="prompt", help=help, title=title
    )


def _picture_url(documented: Documented = Documented.PROVIDER) -> UrlParam:
    help_text = "the picture's address"
    return UrlParam(
        name="imgUrl", required=True, most=1024, documented=documented, help=help_text, title="Address of the picture"
    )


def _canvas() -> SizeParam:
    return SizeParam(name="canvas", required=True, help="the size of the new picture, in pixels")


def _position() -> PlaceParam:
    help_text = "the old picture's size and its place on the canvas"
    return PlaceParam(name="imgPos", required=True, option="position", help=help_text)


def _mask(*, required: bool) -> MaskParam:
    help_text = "what to repaint: the address of a picture that is white there and black elsewhere, or areas as JSON"
    return MaskParam(name="mask", required=required, help=help_text)


def _upscale_hints(params: Mapping[str, Any]) -> tuple[str, ...]:
    if params.get("type") in (2, 3):
        return ("v5_2x and v5_4x are for pictures of version 5; others are probably refused",)
    return ()


def _extend_hints(params: Mapping[str, Any]) -> tuple[str, ...]:
    return () if params.get("prompt") else ("Midjourney's own API requires a prompt here",)


DIFFUSION = Model(
    name=f"{PREFIX}diffusion",
    summary="Make four pictures from a prompt.",
    operation="001",
    fields=(
        TextParam(
            name="text",
            required=True,
            missing_code="8004001001",
            most=PROMPT_MOST,
            prompt=True,
            option="prompt",
            help="what to paint, with Midjourney's flags, such as --ar 3:2",
        ),
    ),
)

V81_T2I = Model(
    name=f"{PREFIX}V8.1_t2i",
    summary="Make four pictures from a prompt with version 8.1.",
    fields=(
        TextParam(
            name="text",
            most=PROMPT_MOST,
            prompt=True,
            documented=Documented.NOBODY,
            option="prompt",
            help="what to paint",
        ),
    ),
    is_open=True,
)

V81_I2I = Model(
    name=f"{PREFIX}V8.1_i2i",
    summary="Change a picture with version 8.1.",
    fields=(
        TextParam(
            name="task_id",
            required=True,
            most=256,
            job_id=True,
            option="job-id",
            help="the jobId in an earlier task's output",
        ),
        IntegerParam(
            name="image_no", required=True, least=0, most=3, help="which of its pictures, from 0 to 3", title="Picture"
        ),
        _prompt("remix_prompt", help="what to change"),
    ),
    feed=JobFeed("task_id", "image_no"),
    is_open=True,
)

VARIATION = Model(
    name=f"{PREFIX}variation",
    summary="Make four variations of a picture.",
    fields=(
        _job_id(),
        _image_no(),
        ChoiceParam(
            name="type",
            required=True,
            words={"subtle": 0, "strong": 1},
            option="strength",
            help="how different they are",
        ),
        _prompt(help="what to change"),
    ),
    feed=_JOB,
    verb="Vary",
)

REMIX = Model(
    name=f"{PREFIX}remix",
    summary="Make four pictures like one, with another prompt.",
    operation="011",
    fields=(
        _job_id(missing_code="004011001"),
        _image_no(missing_code="004011002"),
        _prompt(required=True, help="what to paint instead"),
        ChoiceParam(
            name="mode",
            words={"strong": 0, "subtle": 1},  # the other way round than a variation's
            option="strength",
            help="how different they are; by default strong",
        ),
    ),
    feed=_JOB,
    verb="Remix",
)

OUTPAINT = Model(
    name=f"{PREFIX}outpaint",
    summary="Extend a picture beyond its edges.",
    operation="007",
    fields=(
        _job_id(missing_code="004007001"),
        _image_no(missing_code="004007002", invalid_code="004007003"),
        NumberParam(
            name="scale",
            required=True,
            missing_code="004007004",
            invalid_code="004007005",
            least=1.1,
            most=2.0,
            help="how much wider, from 1.1 to 2.0",
        ),
        _prompt(help="what to paint there; by default more of the same", title=_NEW_PART),
    ),
    callback=UrlParam(name="callback", invalid_code="004007006"),
    feed=_JOB,
    verb="Extend",
    draws=Draws.GROW,
)

PAN = Model(
    name=f"{PREFIX}pan",
    summary="Extend a picture in one direction.",
    fields=(
        _job_id(),
        _image_no(),
        ChoiceParam(
            name="direction",
            required=True,
            words={"down": 0, "right": 1, "up": 2, "left": 3},
            form_order=("left", "right", "up", "down"),
            documented=Documented.UPSTREAM,
            help="where to",
        ),
        NumberParam(
            name="scale",
            required=True,
            least=1.1,
            most=3.0,
            documented=Documented.UPSTREAM,
            help="how much, from 1.1 to 3.0",
        ),
        _prompt(title=_NEW_PART),
    ),
    feed=_JOB,
    is_presumed=True,
    verb="Pan",
    draws=Draws.SHIFT,
)

INPAINT = Model(
    name=f"{PREFIX}inpaint",
    summary="Repaint a part of a picture.",
    fields=(_job_id(), _image_no(), _mask(required=True), _prompt()),
    feed=_JOB,
)

EDIT = Model(
    name=f"{PREFIX}edit",
    summary="Put a picture on a new canvas and paint the rest.",
    fields=(_job_id(), _image_no(), _canvas(), _position(), _prompt(required=True), _mask(required=False)),
    feed=_JOB,
)

UPSCALE = Model(
    name=f"{PREFIX}upscale",
    summary="Enlarge a picture.",
    fields=(
        _job_id(),
        _image_no(),
        ChoiceParam(
            name="type",
            required=True,
            words={"standard": 0, "creative": 1, "v5_2x": 2, "v5_4x": 3},
            aliases={"subtle": "standard"},  # as Midjourney's own pages call it
            names={"v5_2x": "2 ×", "v5_4x": "4 ×"},
            help="standard (or subtle) keeps what it shows, creative adds details; the others are for version 5",
        ),
    ),
    feed=_JOB,
    makes=1,
    verb="Upscale",
    find_hints=_upscale_hints,
)

REROLL = Model(
    name=f"{PREFIX}reroll",
    summary="Make an earlier task's pictures once more.",
    fields=(_job_id(),),
    feed=JobFeed("jobId"),
    is_presumed=True,
)

ENHANCE = Model(
    name=f"{PREFIX}enhance",
    summary="Finish a picture that was made in draft mode.",
    fields=(_job_id(), _image_no()),
    feed=_JOB,
    is_presumed=True,
)

UPLOADPAINT = Model(
    name=f"{PREFIX}uploadpaint",
    summary="Repaint a picture of your own on a new canvas.",
    fields=(_picture_url(), _canvas(), _position(), _mask(required=True), _prompt(required=True)),
    feed=_URL,
)

RETEXTURE = Model(
    name=f"{PREFIX}retexture",
    summary="Keep the shapes of a picture of your own and paint them anew.",
    fields=(_picture_url(), _prompt(required=True, help="what to make of it")),
    feed=_URL,
)

REMOVE_BACKGROUND = Model(
    name=f"{PREFIX}remove_background",
    summary="Cut out what a picture of your own shows.",
    fields=(_picture_url(Documented.UPSTREAM),),
    feed=_URL,
    makes=1,
    is_presumed=True,
)

VIDEO_DIFFUSION = Model(
    name=f"{PREFIX}video_diffusion",
    summary="Make four videos from a prompt or from a picture.",
    fields=(
        _prompt("prompt", help="what happens in it"),
        _job_id(required=False),
        _image_no(required=False),
        ChoiceParam(
            name="videoType",
            words={"480p": 0, "720p": 1},
            documented=Documented.UPSTREAM,
            option="size",
            help="how large; by default 480p",
        ),
    ),
    any_of=("prompt", "jobId"),
    together=("jobId", "imageNo"),
    feed=_JOB,
    media="video",
    is_presumed=True,
)

EXTEND_VIDEO = Model(
    name=f"{PREFIX}extend_video",
    summary="Let a video go on.",
    fields=(_job_id(), _video_no(), _prompt("prompt", help="what happens next")),
    feed=_VIDEO,
    media="video",
    is_presumed=True,
    find_hints=_extend_hints,
)

VIDEO_UPSCALE = Model(
    name=f"{PREFIX}video_upscale",
    summary="Enlarge a video.",
    fields=(
        _job_id(),
        _video_no(),
        IntegerParam(
            name="type",
            least=0,
            most=3,
            documented=Documented.NOBODY,
            help="nobody documents what it means, so it is best left out; an example of the provider's has 0",
        ),
    ),
    feed=_VIDEO,
    makes=1,
    media="video",
    is_presumed=True,
)

MODELS = (
    DIFFUSION,
    V81_T2I,
    V81_I2I,
    VARIATION,
    REMIX,
    OUTPAINT,
    PAN,
    INPAINT,
    EDIT,
    UPSCALE,
    REROLL,
    ENHANCE,
    UPLOADPAINT,
    RETEXTURE,
    REMOVE_BACKGROUND,
    VIDEO_DIFFUSION,
    EXTEND_VIDEO,
    VIDEO_UPSCALE,
)
