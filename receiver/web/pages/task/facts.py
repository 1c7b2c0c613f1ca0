"""The facts of a task: its model and parameters, its ids, its pictures and what it cost. Pure."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct

from receiver.core.money import format_usd
from receiver.core.sanitize import one_line, strip_control_chars
from receiver.core.types import Image, ImageCopy, Task
from receiver.notify.messages.media_words import media_noun
from receiver.providers.models import find_word, prompt_param
from receiver.web.pages.sentences import Piece, Sentence, decode_params, outside, plain_text, say
from receiver.web.pages.task.pictures import link_end
from receiver.web.pages.task.states import is_unbilled
from receiver.web.pages.times import format_day

PROMPT_FOLDED = 600  # characters, from which on it is folded
PROMPT_MOST = 10_000
PARAMS_MOST = 40
VALUE_MOST = 300
JOBS_MOST = 4


class Fact(Struct, frozen=True):
    """A fact: its name and what it is. `more` is what follows it where it is folded."""

    name: str
    value: Sentence
    mono: bool = False
    more: str = ""
    outside_name: bool = False  # the name is from outside too


def list_facts(
    task: Task, images: Sequence[Image], copies: Sequence[ImageCopy], batch: str = "", *, now: int
) -> list[Fact]:
    """All facts, in order."""
    facts = [Fact("model", say(outside(task.model, 100)))] if task.model else []
    if task.prompt:
        text = strip_control_chars(task.prompt, PROMPT_MOST)[:PROMPT_MOST]
        facts.append(Fact("prompt", say(Piece(text[:PROMPT_FOLDED], outside=True)), more=text[PROMPT_FOLDED:]))
    facts += _list_params(task)
    if task.label:
        facts.append(Fact("label", say(outside(task.label, href=f"/?label={quote(task.label, safe='')}"))))
    if batch:
        facts.append(Fact("batch", say(outside(batch, href=f"/batches/{quote(batch, safe='')}"))))
    facts.append(Fact("ref", say(task.ref), mono=True))
    if task.task_id:
        facts.append(Fact("provider’s id", say(outside(task.task_id, 256)), mono=True))
    jobs = list(dict.fromkeys(it.job_id for it in images if it.job_id))
    for job in jobs[:JOBS_MOST]:
        facts.append(Fact("made job id", say(outside(job, 256)), mono=True))
    facts.append(Fact("polls", say(f"{task.polls:,}" if task.polls else "none")))
    if images:
        facts.append(Fact(f"{media_noun(it.type for it in images)}s", say(describe_pictures(images, copies, now))))
    cost = format_usd(task.usage.cost) if task.usage is not None else ""
    if cost or task.state.is_final:
        facts.append(Fact("cost", say(cost or ("nothing charged" if is_unbilled(task) else "not reported"))))
    return facts


def describe_pictures(images: Sequence[Image], copies: Sequence[ImageCopy], now: int) -> str:
    """The size of the pictures, how many are kept, and when the provider's links to them end."""
    sizes = list(dict.fromkeys(f"{it.width} × {it.height}" for it in copies if it.width and it.height))
    kept = sum(it.file is not None for it in copies)
    some = "kept" if kept == len(images) else f"{kept} of {len(images)} kept" if kept else "not kept"
    words = ", ".join([*(sizes if len(sizes) <= 2 else ["different sizes"]), some])
    ends = min((at for it in images if (at := link_end(it.url)) is not None), default=None)
    if ends is None:
        return words
    return f"{words}; the provider’s links {'end' if ends > now else 'ended'} on {format_day(ends, now)}"


def _list_params(task: Task) -> list[Fact]:
    prompt, params = prompt_param(task.model or ""), decode_params(task)
    facts = []
    for name, value in list(params.items())[:PARAMS_MOST]:
        if name == prompt and value == task.prompt:
            continue
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        word = find_word(task.model or "", name, value)
        mono = name in ("jobId", "task_id", "job_id")
        sentence = say(outside(shown, VALUE_MOST), f" ({word})" if word else "")
        facts.append(Fact(one_line(name, 60), sentence, mono=mono, outside_name=True))
    return [it for it in facts if plain_text(it.value)]
