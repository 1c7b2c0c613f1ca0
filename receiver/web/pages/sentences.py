"""The pieces of which pages put sentences together, and the words for what a task does. Pure."""

import msgspec
from msgspec import Struct

from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import Task
from receiver.providers.declarations import JobFeed
from receiver.providers.models import MODELS, find_word, short_model_name
from receiver.web.pages.times import format_clock

NAME_MOST = 48  # characters of a prompt that names a task
LABEL_MOST = 200
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000

# what each model does with a picture, which stands for `{}`
_WITH_PICTURE = {
    "outpaint": "extend {}",
    "pan": "pan {}",
    "variation": "vary {}",
    "remix": "remix {}",
    "upscale": "upscale {}",
    "inpaint": "repaint a part of {}",
    "edit": "put {} on a new canvas",
    "enhance": "finish {}",
    "V8.1_i2i": "change {}",
    "uploadpaint": "put {} on a new canvas",
    "retexture": "retexture {}",
    "remove_background": "cut out {}",
    "video_diffusion": "make videos of {}",
    "extend_video": "let {} go on",
    "video_upscale": "enlarge {}",
}
_FROM_PROMPT = {
    "diffusion": "make pictures",
    "V8.1_t2i": "make pictures",
    "video_diffusion": "make videos",
    "reroll": "make once more the pictures",
}


class Piece(Struct, frozen=True, gc=False):
    """A piece of a sentence: words of ours, and what is set apart: a link, an id, words from outside, or a moment."""

    text: str = ""
    href: str = ""
    outside: bool = False
    code: bool = False
    at: int | None = None  # instead of words: this time of day
    ago: int | None = None  # instead of words: how long ago this was

    @property
    def plain(self) -> str:
        """It without its markup; of a moment, the time of day."""
        moment = self.at if self.at is not None else self.ago
        return self.text if moment is None else format_clock(moment)


Sentence = tuple[Piece, ...]


def say(*pieces: str | Piece) -> Sentence:
    """A sentence of these pieces; plain ones are words of ours."""
    return tuple(Piece(it) if isinstance(it, str) else it for it in pieces if it)


def outside(text: str, most: int = LABEL_MOST, href: str = "") -> Piece:
    """Words from outside, on one line."""
    return Piece(one_line(text, most), href, outside=True)


def with_commands(text: str) -> Sentence:
    """Words of ours in which commands stand between backticks."""
    pieces = text.split("`")  # alternating: words, command, words
    return say(*(Piece(it, code=True) if at % 2 else it for at, it in enumerate(pieces)))


def plain_text(sentence: Sentence) -> str:
    """A sentence without its markup."""
    return "".join(it.plain for it in sentence)


def task_title(task: Task) -> str:
    """What pages call a task: its label, else the beginning of its prompt, else its model and when it was made; of a
    chain's step with its name. Without a label, one that goes on from a picture is called by what it does as well: the
    prompt is mostly its parent's."""
    label, prompt = one_line(task.label or "", LABEL_MOST), one_line(task.prompt or "", NAME_MOST)
    step = one_line(task.step or "", NAME_MOST)
    name = label or prompt
    if not label and not step and task.parent is not None:
        work = plain_text(describe_work(task))
        return f"{work[:1].upper()}{work[1:]}{f': {prompt}' if prompt else ''}"
    if not name and not step:
        return f"{short_model_name(one_line(task.model or 'task', NAME_MOST))}, {format_clock(task.created_at)[:5]}"
    return " · ".join(filter(None, (name, step)))


def link_task(task: Task) -> Piece:
    """A link to a task's page, by its title."""
    return Piece(task_title(task), f"/tasks/{task.ref}", outside=True)


def describe_work(task: Task, parent: Task | None = None) -> Sentence:
    """What a task does, in lower case and without a full stop: `extend picture 0 of shore, 1.5 times`."""
    model = short_model_name(task.model or "")
    declared, params = MODELS.get(task.model or ""), decode_params(task)
    feed = declared.feed if declared is not None else None
    number = _picture_number(task, params)
    goes_on = parent is not None or (feed is not None and any(params.get(it) is not None for it in feed.names))
    if not goes_on or model not in _WITH_PICTURE:
        words = _FROM_PROMPT.get(model) or _WITH_PICTURE.get(model, "").format("a picture")
        named = outside(model, NAME_MOST) if model else "a task whose model is not known"
        of = (" of ", link_task(parent)) if parent is not None else ()
        return say(*((words,) if words else (named,)), *of, *_describe_extras(task, params))
    noun = "video" if model in ("extend_video", "video_upscale") else "picture"
    which = f"{noun} {number}" if number is not None else f"a {noun}"
    before, _, after = _WITH_PICTURE[model].partition("{}")
    of = (" of ", link_task(parent)) if parent is not None else ()
    return say(before + which, *of, after, *_describe_extras(task, params))


def as_sentence(text: str) -> str:
    """Words as a sentence: with a capital, and a full stop if nothing else ends it."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def decode_params(task: Task) -> dict[str, object]:
    """A task's parameters; none if they cannot be read."""
    try:
        found = msgspec.json.decode(task.params)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def format_gap(span_ms: int) -> str:
    """How long after the beginning something happened, in a few characters: `+0.1 s`, `+58 s`, `+1 min 12 s`, `+3 h`,
    `+2 d`."""
    span_ms = max(0, span_ms)
    if span_ms >= _DAY:
        hours = span_ms % _DAY // _HOUR
        return f"+{span_ms // _DAY} d" + (f" {hours} h" if hours and span_ms < 10 * _DAY else "")
    if span_ms >= 10 * _HOUR:
        return f"+{span_ms // _HOUR} h"
    if span_ms >= 10 * _MINUTE:
        span_ms -= span_ms % _MINUTE
    return f"+{_round_seconds(format_duration(span_ms))}"


def format_span(span_ms: int) -> str:
    """How long something took: `640 ms`, then as durations everywhere."""
    return f"{max(0, span_ms)} ms" if span_ms < _SECOND else _round_seconds(format_duration(span_ms))


def _round_seconds(words: str) -> str:
    return words.removesuffix(".0 s") + " s" if words.endswith(".0 s") else words


def _picture_number(task: Task, params: dict[str, object]) -> int | None:
    declared = MODELS.get(task.model or "")
    feed = declared.feed if declared is not None else None
    place = feed.place if isinstance(feed, JobFeed) else None
    given = params.get(place) if place is not None else None
    return given if isinstance(given, int) else task.parent_image


def _describe_extras(task: Task, params: dict[str, object]) -> tuple[str, ...]:
    """What else says what it does: its scale, and the word for a choice."""
    extras = []
    for name in ("direction", "type", "mode"):
        word = find_word(task.model or "", name, params.get(name))
        extras += [word.replace("v5_2x", "2 ×").replace("v5_4x", "4 ×")] if word else []
    scale = params.get("scale")
    if isinstance(scale, int | float) and not isinstance(scale, bool):
        extras.append(f"{scale:g} times")
    return (f", {', '.join(extras)}",) if extras else ()
