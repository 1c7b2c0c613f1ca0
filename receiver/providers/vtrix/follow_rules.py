"""What may be made of the result of an earlier job. Pure.

The upstream refuses some operations on some pictures, at a price of time or money. What a job is follows from its own
parameters and from those of the job that it went on from. Nothing here is on the provider's own pages, so what is
`unlikely` can be submitted anyway.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from receiver.providers.vtrix import midjourney as mj
from receiver.providers.vtrix.prompt_flags import read_flags, version_of

EXTENSIONS_MOST = 4  # of one video
_EDITED_BY = frozenset({mj.UPLOADPAINT.name, mj.RETEXTURE.name})
_BY_ADDRESS = frozenset({mj.UPLOADPAINT.name, mj.RETEXTURE.name, mj.REMOVE_BACKGROUND.name})
_VIDEO_STEPS = frozenset({mj.EXTEND_VIDEO.name, mj.VIDEO_UPSCALE.name})
_RESHAPES = frozenset({mj.OUTPAINT.name, mj.PAN.name, mj.INPAINT.name})
_MODELS = {it.name: it for it in mj.MODELS}


class Traits(Struct, frozen=True, omit_defaults=True):
    """What a job is, as far as it matters to what may follow it. `version` is None if it is not known."""

    version: str | None = None
    draft: bool = False
    upscaled: bool = False
    edited: bool = False
    video: bool = False
    extended: int = 0  # how often the video was extended


class Answer(Enum):
    """Whether a model takes a job's result."""

    OK = "ok"
    HINT = "hint"  # nobody says
    UNLIKELY = "unlikely"


class Ruling(Struct, frozen=True):
    """Whether a model takes a job's result, and a sentence that says why not."""

    answer: Answer = Answer.OK
    text: str = ""


_OK = Ruling()


def derive_traits(model: str, params: Mapping[str, Any], source: Traits | None) -> Traits:
    """What a job of this model is, which went on from `source`; None: from a job that we do not know, or from none."""
    declared = _MODELS.get(model)
    prompt = declared.prompt_of(params) if declared else None
    before = source or Traits()
    version = "8.1" if model in (mj.V81_T2I.name, mj.V81_I2I.name) else version_of(prompt) or before.version
    edited = before.edited or model in _EDITED_BY
    if declared is not None and declared.media == "video":
        upscaled = (before.video and before.upscaled) or model == mj.VIDEO_UPSCALE.name
        extended = before.extended + (model == mj.EXTEND_VIDEO.name) if before.video else 0
        return Traits(version=version, video=True, upscaled=upscaled, extended=extended)
    draft = "draft" in read_flags(prompt)
    return Traits(version=version, edited=edited, draft=draft, upscaled=model == mj.UPSCALE.name)


def judge_follow(source: Traits, model: str) -> Ruling:
    """Whether `model` takes the result of a job that is `source`."""
    if source.video:
        return _judge_after_video(source, model)
    if model in _BY_ADDRESS:
        return _OK
    if model in _VIDEO_STEPS:
        return _unlikely("only a video can be extended or enlarged as one, and that task makes pictures")
    if model == mj.ENHANCE.name:
        return _judge_enhance(source)
    if source.upscaled:
        if model == mj.UPSCALE.name:
            return _unlikely("its picture has been enlarged already")
        return _hint("its picture has been enlarged, and nobody says whether this can follow")
    if source.edited:
        return _OK if model == mj.UPSCALE.name else _judge_edited(model)
    if source.draft:
        if model == mj.OUTPAINT.name:
            return _unlikely("its pictures are drafts; `enhance` makes finished ones of them")
        return _hint("its pictures are drafts, and nobody says whether this can follow; `enhance` can")
    if source.version == "8.1":
        if model == mj.UPSCALE.name:
            return _unlikely("pictures of version 8.1 cannot be enlarged; write --hd into the prompt instead")
        if model in _RESHAPES:
            return _unlikely("version 8.1 has no outpaint, pan and inpaint; `edit` can do the same")
    elif model == mj.V81_I2I.name:
        return _hint("its pictures are not of version 8.1, as far as we know, and this model is for those")
    return _OK


def _judge_after_video(source: Traits, model: str) -> Ruling:
    if model not in _VIDEO_STEPS:
        return _unlikely("it makes videos, which can only be extended or enlarged")
    if source.upscaled:
        return _unlikely("its video has been enlarged already, and nothing follows that")
    if model == mj.EXTEND_VIDEO.name and source.extended >= EXTENSIONS_MOST:
        return _unlikely(f"its video has been extended {EXTENSIONS_MOST} times, which is the most")
    return _OK


def _judge_enhance(source: Traits) -> Ruling:
    if source.version == "8.1":
        return _unlikely("version 8.1 has nothing to enhance")
    if source.draft:
        return _OK
    if source.version is None and not source.upscaled and not source.edited:
        return _hint("only pictures made with --draft can be enhanced")
    return _unlikely("only pictures made with --draft can be enhanced")


def _judge_edited(model: str) -> Ruling:
    if model == mj.REROLL.name:
        return _hint("nobody says whether an edited picture can be made once more")
    return _unlikely("its pictures come from an edit or a retexture, and those can only be enlarged")


def _hint(text: str) -> Ruling:
    return Ruling(Answer.HINT, text)


def _unlikely(text: str) -> Ruling:
    return Ruling(Answer.UNLIKELY, text)
