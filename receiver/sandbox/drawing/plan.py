"""From a task's parameters to its pictures: what each of Midjourney's operations does, in the simplest form in which
one sees it. Pure."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from msgspec.structs import replace

from receiver.providers.vtrix.prompt_flags import read_flags
from receiver.sandbox.drawing.picture import (
    PATCHES_MOST,
    Box,
    Layer,
    Mood,
    Patch,
    Picture,
    Style,
    Subject,
    box_of_aspect,
)

_T = TypeVar("_T")
Params = Mapping[str, Any]
_Operation = Callable[[Picture, Params, str, int], Picture]  # the source, the parameters, a seed, the picture's number

_PIXELS, _UPSCALED, _UPSCALED_MOST = 1024, 2048, 3072
_SECONDS, _SECONDS_MORE, _SECONDS_MOST = 3, 2, 15
_VIDEO_PIXELS = {0: 320, 1: 480}  # small, so that they are quick to make
_VIDEO_UPSCALED = 640
_SIDES = ("down", "right", "up", "left")
_SUBJECT_WORDS = {
    Subject.LIGHTHOUSE: "lighthouse beacon coast",
    Subject.BOAT: "boat ship sail sailing harbor harbour sea ocean lake",
    Subject.CASTLE: "castle palace fortress knight tower",
    Subject.WINDMILL: "windmill mill field fields",
    Subject.TREE: "tree oak forest wood woods",
    Subject.BALLOON: "balloon balloons",
    Subject.HOUSE: "house home cottage village hut cabin barn",
}
_MOOD_WORDS = {
    Mood.NIGHT: "night moon midnight stars dark",
    Mood.EVENING: "evening sunset dusk autumn",
    Mood.MORNING: "morning dawn sunrise mist fog",
    Mood.WINTER: "winter snow snowy ice frozen",
    Mood.DAY: "day noon summer spring sunny",
}
_STYLE_WORDS = {
    Style.PENCIL: "pencil sketch line drawing ink engraving",
    Style.MOSAIC: "mosaic pixel pixels glass tiles",
    Style.POSTER: "poster pop neon print",
}


def plan_pictures(model: str, params: Params, source: Picture | None, seed: str, count: int) -> tuple[Picture, ...]:
    """What `count` results of a task show. `model` is the short name; `source` is what it goes on from; without one, a
    picture that depends on the parameters that name it."""
    prompt = str(params.get("text") or params.get("prompt") or "")
    if model in ("diffusion", "V8.1_t2i") or (model == "video_diffusion" and not params.get("jobId")):
        made = [_from_prompt(prompt, seed, number) for number in range(count)]
        return tuple(_as_video(it, params) if model == "video_diffusion" else it for it in made)
    origin = source or stranger_picture(params)
    operation = _OPERATIONS.get(model, _vary)
    return tuple(operation(origin, params, f"{seed}:{number}", number) for number in range(count))


def stranger_picture(params: Params) -> Picture:
    """A picture that was made elsewhere: the same whenever it is named."""
    place = params.get("imageNo", params.get("image_no", params.get("videoNo")))
    name = f"{params.get('jobId') or params.get('task_id') or params.get('imgUrl')}:{place}"
    luck = _luck(name)
    moods = [it for it in Mood if it is not Mood.WINTER]
    return Picture(
        prompt="",
        scene=name,
        subject=luck.choice(list(Subject)),
        mood=luck.choice(moods),
        layers=(Layer(box_of_aspect(1), name, luck.randrange(4)),),
    )


def _from_prompt(prompt: str, seed: str, number: int) -> Picture:
    flags = read_flags(prompt)
    name = f"{flags['seed']}/{prompt}" if "seed" in flags else seed
    first = _find_word(prompt, _MOOD_WORDS)
    moods = [it for it in Mood if it is not Mood.WINTER]
    return Picture(
        prompt=prompt,
        scene=f"{name}:{number}",
        subject=_find_word(prompt, _SUBJECT_WORDS) or _luck(prompt).choice(list(Subject)),
        mood=first or moods[(_luck(prompt).randrange(4) + number) % 4],
        layers=(
            Layer(box_of_aspect(_read_aspect(flags.get("ar", flags.get("aspect", "")))), f"{name}:{number}", number),
        ),
        pixels=_UPSCALED if "hd" in flags else _PIXELS,
        style=Style.DRAFT if "draft" in flags else Style.PAINTING,
    )


def _vary(source: Picture, params: Params, seed: str, number: int) -> Picture:
    """Subtle: other plants, clouds and birds. Strong: what stands there moves, too."""
    varied = _repaint_words(source.with_details(seed), params, strong=False)
    return replace(varied, twist=seed) if params.get("type", 1) == 1 else varied


def _remix(source: Picture, params: Params, seed: str, number: int) -> Picture:
    strong = params.get("mode", 0) == 0
    remixed = _repaint_words(source.with_details(seed), params, strong=strong)
    return replace(remixed, twist=seed) if strong else remixed


def _outpaint(source: Picture, params: Params, seed: str, number: int) -> Picture:
    scale, view = float(params.get("scale", 1.5)), source.view
    across, up = view.width * (scale - 1) / 2, view.height * (scale - 1) / 2
    return source.with_layer(view.grow(left=across, right=across, down=up, up=up), seed, number)


def _pan(source: Picture, params: Params, seed: str, number: int) -> Picture:
    side = _SIDES[int(params.get("direction", 1)) % 4]
    more = float(params.get("scale", 1.5)) - 1
    length = source.view.height if side in ("up", "down") else source.view.width
    return source.with_layer(source.view.grow(**{side: more * length}), seed, number)


def _inpaint(source: Picture, params: Params, seed: str, number: int) -> Picture:
    return _add_patches(source, source.view, params, seed)


def _edit(source: Picture, params: Params, seed: str, number: int) -> Picture:
    """The picture in its place on the canvas. Both are in pixels; the picture's width says how many make a unit."""
    canvas, place, view = params.get("canvas"), params.get("imgPos"), source.view
    if not canvas or not place:
        return source
    unit = view.width / place["width"]
    left, top = view.left - place["x"] * unit, view.top + place["y"] * unit
    width, height = canvas["width"] * unit, canvas["height"] * unit
    whole = Box(left, top - height, left + width, top)
    is_sane = min(width, height) > 0.05 and max(width, height) < 12 and 1 / 8 < width / height < 8
    box = whole if is_sane else view.grow(left=0.25, right=0.25, up=0.25, down=0.25)
    return _add_patches(source.with_layer(box, seed, number), box, params, seed)


def _upscale(source: Picture, params: Params, seed: str, number: int) -> Picture:
    kind = params.get("type", 0)
    larger = replace(source, pixels=min(source.pixels * 2, _UPSCALED_MOST) if kind != 3 else _UPSCALED_MOST)
    return replace(larger.with_details(seed), frame=source.frame) if kind == 1 else larger


def _reroll(source: Picture, params: Params, seed: str, number: int) -> Picture:
    """The same once more: another picture of the prompt, or another surrounding of the picture."""
    if len(source.layers) == 1 and source.prompt:
        return _from_prompt(source.prompt, seed, number)
    *inner, outer = source.layers
    again = replace(source, layers=(*inner, Layer(outer.box, seed, number)))
    return again if inner else replace(again, twist=seed)


def _enhance(source: Picture, params: Params, seed: str, number: int) -> Picture:
    return replace(source, style=Style.PAINTING).with_details(f"{source.scene}/{number}")


def _retexture(source: Picture, params: Params, seed: str, number: int) -> Picture:
    prompt = str(params.get("remixPrompt", ""))
    styles = list(_STYLE_WORDS)
    varied = replace(source.with_details(seed) if number else source, frame=source.frame)
    return replace(varied, style=_find_word(prompt, _STYLE_WORDS) or styles[number % len(styles)])


def _cut_out(source: Picture, params: Params, seed: str, number: int) -> Picture:
    return replace(source, style=Style.CUTOUT)


def _film(source: Picture, params: Params, seed: str, number: int) -> Picture:
    return replace(_as_video(source, params), twist=source.twist if number == 0 else f"{seed}/film")


def _extend_film(source: Picture, params: Params, seed: str, number: int) -> Picture:
    seconds = min((source.seconds or _SECONDS) + _SECONDS_MORE, _SECONDS_MOST)
    return replace(source.with_details(seed), seconds=seconds, pixels=min(source.pixels, _VIDEO_UPSCALED))


def _enlarge_film(source: Picture, params: Params, seed: str, number: int) -> Picture:
    return replace(source, seconds=source.seconds or _SECONDS, pixels=_VIDEO_UPSCALED)


def _as_video(picture: Picture, params: Params) -> Picture:
    return replace(picture, seconds=_SECONDS, pixels=_VIDEO_PIXELS[1 if params.get("videoType") == 1 else 0])


_OPERATIONS: Mapping[str, _Operation] = {
    "V8.1_i2i": _vary,
    "variation": _vary,
    "remix": _remix,
    "outpaint": _outpaint,
    "pan": _pan,
    "inpaint": _inpaint,
    "edit": _edit,
    "upscale": _upscale,
    "reroll": _reroll,
    "enhance": _enhance,
    "uploadpaint": _edit,
    "retexture": _retexture,
    "remove_background": _cut_out,
    "video_diffusion": _film,
    "extend_video": _extend_film,
    "video_upscale": _enlarge_film,
}


def _repaint_words(picture: Picture, params: Params, *, strong: bool) -> Picture:
    """The picture with what a new prompt names; a `strong` change is seen even if it names nothing that is known."""
    prompt = str(params.get("remixPrompt") or params.get("remix_prompt") or "")
    if not prompt:
        return picture
    subject = _find_word(prompt, _SUBJECT_WORDS) or (_luck(prompt).choice(list(Subject)) if strong else picture.subject)
    mood = _find_word(prompt, _MOOD_WORDS) or _other_mood(picture.mood, prompt)
    return replace(picture, prompt=prompt, subject=subject, mood=mood)


def _add_patches(picture: Picture, box: Box, params: Params, seed: str) -> Picture:
    prompt = str(params.get("remixPrompt") or "")
    mood = _find_word(prompt, _MOOD_WORDS) or _other_mood(picture.mood, prompt)
    subject = _find_word(prompt, _SUBJECT_WORDS) or picture.subject
    outlines = _mask_outlines(params.get("mask"), box)
    patches = tuple(Patch(points, mood, subject, f"{seed}/{number}") for number, points in enumerate(outlines))
    return replace(picture, patches=(*picture.patches, *patches)[-PATCHES_MOST:])


def _mask_outlines(mask: Any, box: Box) -> Sequence[tuple[tuple[float, float], ...]]:
    """The outlines of a mask's areas in the scene. What a mask behind an address shows is not known: its middle."""
    if not mask:
        return ()
    if "areas" not in mask:
        turns = [math.tau * step / 24 for step in range(24)]
        return [tuple(box.point_at(0.5 + 0.26 * math.cos(it), 0.5 + 0.26 * math.sin(it)) for it in turns)]
    outlines = []
    for area in mask["areas"][:PATCHES_MOST]:
        pairs = zip(area["points"][::2], area["points"][1::2], strict=True)
        outlines.append(tuple(box.point_at(x / area["width"], y / area["height"]) for x, y in pairs))
    return outlines


def _read_aspect(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,4}):([0-9]{1,4})", text)
    return int(found[1]) / int(found[2]) if found and int(found[1]) and int(found[2]) else 1.0


def _find_word(text: str, table: Mapping[_T, str]) -> _T | None:
    """The first that the text names."""
    by_word = {word: it for it, words in table.items() for word in words.split()}
    return next((by_word[word] for word in re.findall("[a-z]+", text.lower()) if word in by_word), None)


def _other_mood(mood: Mood, seed: str) -> Mood:
    return _luck(seed).choice([it for it in Mood if it is not mood])


def _luck(seed: str) -> Random:
    return Random(seed)  # noqa: S311 - chance, not a secret
