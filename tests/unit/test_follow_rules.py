"""What may be made of what: the whole table, and how a job's traits follow from those of the job before it."""

import pytest

from receiver.providers.models import MODELS
from receiver.providers.vtrix.follow_rules import Answer, Traits, derive_traits, judge_follow

V7 = Traits(version="7")
UNKNOWN = Traits()
V81 = Traits(version="8.1")
DRAFT = Traits(version="7", draft=True)
UPSCALED = Traits(version="7", upscaled=True)
EDITED = Traits(version="7", edited=True)
VIDEO = Traits(video=True)

# Columns: upscale, variation and remix, outpaint, pan and inpaint, edit, enhance, video, V8.1_i2i, reroll, by address.
COLUMNS = (
    ("upscale",),
    ("variation", "remix"),
    ("outpaint",),
    ("pan", "inpaint"),
    ("edit",),
    ("enhance",),
    ("video_diffusion",),
    ("V8.1_i2i",),
    ("reroll",),
    ("uploadpaint", "retexture", "remove_background"),
    ("extend_video", "video_upscale"),
)
TABLE = [
    # upscale variation outpaint pan edit enhance video i2i reroll address video step; o ok, h hint, - unlikely
    ("version 7", V7, "o o o o o - o h o o -"),
    ("an unknown version", UNKNOWN, "o o o o o h o h o o -"),
    ("version 8.1", V81, "- o - - o - o o o o -"),
    ("a draft", DRAFT, "h h - h h o h h h o -"),
    ("an upscaled picture", UPSCALED, "- h h h h - h h h o -"),
    ("an edited picture", EDITED, "o - - - - - - - h o -"),
    ("a video", VIDEO, "- - - - - - - - - - o"),
    ("a draft of version 8.1", Traits(version="8.1", draft=True), "h h - h h - h h h o -"),
    ("an edited picture of 8.1", Traits(version="8.1", edited=True), "o - - - - - - - h o -"),
    ("an edited and upscaled picture", Traits(edited=True, upscaled=True), "- h h h h - h h h o -"),
    ("niji", Traits(version="niji 6"), "o o o o o - o h o o -"),
    ("an upscaled video", Traits(video=True, upscaled=True), "- - - - - - - - - - -"),
]
CELLS = [
    pytest.param(source, f"midjourney_{model}", mark, id=f"{name}, {model}")
    for name, source, marks in TABLE
    for models, mark in zip(COLUMNS, marks.split(), strict=True)
    for model in models
]


@pytest.mark.parametrize(("source", "model", "mark"), CELLS)
def test_each_cell_of_the_table(source: Traits, model: str, mark: str) -> None:
    ruling = judge_follow(source, model)
    assert ruling.answer is {"o": Answer.OK, "h": Answer.HINT, "-": Answer.UNLIKELY}[mark]
    assert bool(ruling.text) == (mark != "o")
    assert not ruling.text.endswith(".")


def test_the_table_has_every_model_that_can_go_on_from_another() -> None:
    named = {f"midjourney_{model}" for models in COLUMNS for model in models}
    assert {name for name, model in MODELS.items() if model.feed} == named


@pytest.mark.parametrize("times", range(6))
def test_a_video_is_extended_four_times_at_most(times: int) -> None:
    source = Traits(video=True, extended=times)
    assert judge_follow(source, "midjourney_extend_video").answer is (Answer.OK if times < 4 else Answer.UNLIKELY)
    assert judge_follow(source, "midjourney_video_upscale").answer is Answer.OK


def after(*steps: tuple[str, str | None]) -> Traits:
    """The traits at the end of a chain of (model, prompt)."""
    traits: Traits | None = None
    for name, prompt in steps:
        model = MODELS[f"midjourney_{name}"]
        params = {model.prompt_param: prompt} if model.prompt_param else {}
        traits = derive_traits(model.name, params, traits)
    assert traits is not None
    return traits


MAKE = ("diffusion", "a bird --v 7")
DRAW = ("diffusion", "a bird --draft --v 7")


@pytest.mark.parametrize(
    ("steps", "traits"),
    [
        ([("diffusion", "a bird")], Traits()),
        ([MAKE], V7),
        ([("diffusion", "a bird --niji 6")], Traits(version="niji 6")),
        ([("V8.1_t2i", "a bird")], V81),
        ([DRAW], DRAFT),
        ([DRAW, ("enhance", None)], V7),
        ([MAKE, ("variation", None)], V7),
        ([MAKE, ("remix", "a cat --v 6.1")], Traits(version="6.1")),
        ([MAKE, ("upscale", None)], UPSCALED),
        ([MAKE, ("upscale", None), ("variation", None)], V7),
        ([("retexture", "oil")], Traits(edited=True)),
        ([MAKE, ("retexture", "oil")], EDITED),
        ([MAKE, ("uploadpaint", "a hat"), ("upscale", None)], Traits(version="7", edited=True, upscaled=True)),
        ([MAKE, ("edit", "a hat")], V7),
        ([MAKE, ("V8.1_i2i", "a hat")], V81),
        ([("video_diffusion", "waves")], VIDEO),
        ([MAKE, ("video_diffusion", None)], Traits(version="7", video=True)),
        ([MAKE, ("upscale", None), ("video_diffusion", None)], Traits(version="7", video=True)),
        ([("video_diffusion", "waves"), ("extend_video", None)], Traits(video=True, extended=1)),
        ([("video_diffusion", "waves"), *[("extend_video", None)] * 4], Traits(video=True, extended=4)),
        ([("video_diffusion", "waves"), ("video_upscale", None)], Traits(video=True, upscaled=True)),
        (
            [("video_diffusion", "waves"), ("extend_video", None), ("video_upscale", None)],
            Traits(video=True, upscaled=True, extended=1),
        ),
    ],
)
def test_traits_follow_from_the_chain(steps: list[tuple[str, str | None]], traits: Traits) -> None:
    assert after(*steps) == traits


def test_a_job_of_a_model_that_we_do_not_know_has_no_traits_of_its_own() -> None:
    assert derive_traits("midjourney_blend", {"prompt": "--v 7"}, None) == Traits()
    assert derive_traits("midjourney_diffusion", {"text": 5}, None) == Traits()
