"""`receiver submit MODEL`: the commands that the declarations make, before a service that answers as told."""

import shlex
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.commands import TASK, Answers, Run, task
from receiver.client.schemas import ChainLink, ImageView
from receiver.providers import models
from receiver.providers.models import MODELS, command_name

OTHER = TASK.replace("-0000-", "-0001-")
CANVAS = {"width": 2048, "height": 1024}
PLACE = {"width": 1024, "height": 1024, "x": 512, "y": -8}
MASK = {"url": "https://example.org/mask.png"}
URL = "https://example.org/a.png"
JOB = ("--job-id", "a-job", "--image-no", "2")

# A command line for each model, with the parameters that it sends.
LINES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "diffusion": (("--prompt", "a sea --ar 3:2"), {"text": "a sea --ar 3:2"}),
    "v8.1-t2i": (("--prompt", "a sea", "--param", "seed=7"), {"text": "a sea", "seed": 7}),
    "v8.1-i2i": ((*JOB, "--prompt", "x"), {"task_id": "a-job", "image_no": 2, "remix_prompt": "x"}),
    "variation": ((*JOB, "--strength", "strong"), {"jobId": "a-job", "imageNo": 2, "type": "strong"}),
    "remix": (
        (*JOB, "--prompt", "x", "--strength", "Subtle"),
        {"jobId": "a-job", "imageNo": 2, "remixPrompt": "x", "mode": "subtle"},
    ),
    "outpaint": ((*JOB, "--scale", "1.5"), {"jobId": "a-job", "imageNo": 2, "scale": 1.5}),
    "pan": (
        (*JOB, "--direction", "left", "--scale", "3"),
        {"jobId": "a-job", "imageNo": 2, "direction": "left", "scale": 3.0},
    ),
    "inpaint": ((*JOB, "--mask", MASK["url"]), {"jobId": "a-job", "imageNo": 2, "mask": MASK}),
    "edit": (
        (*JOB, "--canvas", "2048x1024", "--position", "1024x1024+512-8", "--prompt", "x"),
        {"jobId": "a-job", "imageNo": 2, "canvas": CANVAS, "imgPos": PLACE, "remixPrompt": "x"},
    ),
    "upscale": ((*JOB, "--type", "creative"), {"jobId": "a-job", "imageNo": 2, "type": "creative"}),
    "reroll": (("--job-id", "a-job"), {"jobId": "a-job"}),
    "enhance": (JOB, {"jobId": "a-job", "imageNo": 2}),
    "uploadpaint": (
        (
            *("--img-url", URL, "--canvas", "2048x1024", "--position", "1024x1024+512-8"),
            *("--mask", URL, "--prompt", "x"),
        ),
        {"imgUrl": URL, "canvas": CANVAS, "imgPos": PLACE, "mask": {"url": URL}, "remixPrompt": "x"},
    ),
    "retexture": (("--img-url", URL, "--prompt", "x"), {"imgUrl": URL, "remixPrompt": "x"}),
    "remove-background": (("--img-url", URL), {"imgUrl": URL}),
    "video-diffusion": (("--prompt", "x", "--size", "720p"), {"prompt": "x", "videoType": "720p"}),
    "extend-video": (("--job-id", "a-job", "--video-no", "1"), {"jobId": "a-job", "videoNo": 1}),
    "video-upscale": (("--job-id", "a-job", "--video-no", "1"), {"jobId": "a-job", "videoNo": 1}),
}


def sent(answers: Answers) -> dict[str, Any]:
    """The body of the last request."""
    return dict(msgspec.json.decode(answers.seen[-1][3]))


def test_every_declared_model_has_a_line_here() -> None:
    assert set(LINES) == {command_name(it) for it in MODELS}


@pytest.mark.parametrize("name", LINES)
def test_a_model_is_submitted_with_what_its_options_say(run: Run, answers: Answers, name: str) -> None:
    args, params = LINES[name]
    answers.then(202, task())
    done = run("submit", name, *args)
    assert (done.exit_code, done.stdout) == (0, f"{TASK}\n"), done.stderr
    model = models.full_model_name(name)
    assert sent(answers) == {"model": model, "params": params}
    assert models.check_params(model, params), "which the service takes as it is"


@pytest.mark.parametrize("name", LINES)
def test_its_help_says_what_is_needed_and_gives_a_line_that_works(
    run: Run, answers: Answers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = run("submit", name, "--help").stdout
    model = MODELS[models.full_model_name(name)]
    assert model.summary in shown
    for field in model.fields:
        assert f"--{field.option_name} " in shown
    assert shown.index("How it is submitted:") > 0
    example = shown.partition("For example:\n")[2].strip()
    if "--after hero" in example:
        answers.then(200, {"tasks": [task()], "next": None})
    answers.then(202, task())
    assert run(*shlex.split(example.replace("…", "x"))[1:]).exit_code == 0, example


def test_the_overview_has_every_model_and_loads_no_batch(run: Run) -> None:
    shown = run("submit", "--help").stdout
    assert all(f"\n  {name} " in shown for name in (*LINES, "batch", "again", "raw"))


@pytest.mark.parametrize("name", ["midjourney_outpaint", "OUTPAINT", "Remove_Background"])
def test_a_model_may_be_called_as_the_provider_calls_it(run: Run, name: str) -> None:
    assert run("submit", name, "--help").exit_code == 0


def test_a_wrong_model_names_the_nearest(run: Run) -> None:
    refused = run("submit", "outpant")
    assert refused.exit_code == 2
    assert "(Did you mean one of: 'outpaint', 'pan'?)" in refused.stderr


# -- which picture --


@pytest.mark.parametrize(
    ("number", "image_no"), [("0", 0), ("0,2", [0, 2]), ("3 1", [3, 1]), ("all", "all"), ("Pick", "pick")]
)
def test_after_a_task_any_of_its_pictures_can_be_named(
    run: Run, answers: Answers, number: str, image_no: object
) -> None:
    answers.then(202, task())
    done = run("submit", "upscale", "--after", OTHER, "--image-no", number, "--type", "standard")
    assert done.exit_code == 0, done.stderr
    assert sent(answers) == {
        "model": "midjourney_upscale",
        "params": {"type": "standard"},
        "wait_for": {"ref": OTHER, "image_no": image_no},
    }


def test_what_goes_on_from_all_pictures_names_none(run: Run, answers: Answers) -> None:
    answers.then(202, task())
    assert run("submit", "reroll", "--after", OTHER).exit_code == 0
    assert sent(answers)["wait_for"] == {"ref": OTHER}


def test_a_task_for_each_picture_prints_a_ref_for_each(run: Run, answers: Answers) -> None:
    answers.then(202, replace(task(), siblings=(OTHER,), warnings=("pictures of version 5 only",)))
    done = run("submit", "outpaint", "--after", OTHER, "--image-no", "0,1", "--scale", "2")
    assert (done.stdout, done.stderr) == (f"{TASK}\n{OTHER}\n", "receiver: tip: pictures of version 5 only\n")


def test_a_pick_says_how_it_is_made(run: Run, answers: Answers) -> None:
    link = ChainLink(root=OTHER, parent=OTHER, step=None, image_no=None, children=0, picks=0)
    answers.then(202, replace(task(), held_by="parent", chain=link))
    done = run("submit", "outpaint", "--after", OTHER, "--image-no", "pick", "--scale", "2")
    assert done.stdout == f"{TASK}\n"
    assert done.stderr == (
        f"receiver: `receiver tasks pick {TASK} N` lets it go on from picture N, once that is there\n"
    )


def test_a_picture_by_its_address_is_filled_in_by_the_service(run: Run, answers: Answers) -> None:
    picture = ImageView(1, "image", URL)
    answers.then(200, replace(task("completed", OTHER), images=[picture]))
    answers.then(202, task())
    assert run("submit", "retexture", "--from", OTHER, "--image-no", "1", "--prompt", "x").exit_code == 0
    assert sent(answers)["wait_for"] == {"ref": OTHER, "image_no": 1}
    answers.then(200, task("waiting", OTHER))
    early = run("submit", "retexture", "--from", OTHER, "--image-no", "1", "--prompt", "x")
    assert (early.exit_code, "--after waits for them" in early.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (("outpaint", "--scale", "2"), "say which picture to go on from: --after REF, --from REF or --job-id"),
        (("outpaint", "--after", "a", "--from", "b", "--scale", "2"), "give either --after or --from"),
        (("outpaint", "--from", "a", "--job-id", "b", "--scale", "2"), "give either --from or --job-id"),
        (("outpaint", "--job-id", "a", "--scale", "2"), "--image-no is missing"),
        (("outpaint", "--job-id", "a", "--image-no", "0,1", "--scale", "2"), "with --job-id it is one number"),
        (("outpaint", "--from", "a", "--image-no", "pick", "--scale", "2"), "with --from it is one number"),
        (
            ("outpaint", "--after", "a", "--image-no", "64", "--scale", "2"),
            "the first picture is 0, and the last of four is 3",
        ),
        (("outpaint", "--after", "a", "--image-no", "1,1", "--scale", "2"), "1,1 names a picture twice"),
        (("outpaint", "--after", "a", "--image-no", " ", "--scale", "2"), "'--image-no': it is empty"),
        (("outpaint", "--after", "a", "--image-no", "any", "--scale", "2"), "write 0, or 0,2 for several"),
        (("outpaint", "--after", "a", "--image-no", "0", "--scale", "3"), "--scale must be a number from 1.1 to 2.0"),
        (("video-diffusion", "--prompt", "x", "--image-no", "0"), "give --after REF too"),
        (("video-diffusion",), "one of --prompt and --job-id must be given"),
        (("retexture", "--img-url", URL, "--image-no", "0", "--prompt", "x"), "--img-url is a picture already"),
        (("retexture", "--img-url", "ftp://a", "--prompt", "x"), "--img-url must be an absolute http or https URL"),
        (("edit", *JOB, "--canvas", "9x", "--position", "1x1", "--prompt", "x"), "--canvas must be a width and"),
        (("inpaint", *JOB, "--mask", '{"areas": []}'), "--mask: areas must be a list of 1 to 32 areas"),
        (("pan", *JOB, "--direction", "left", "--scale", "9"), "say --anyway"),
        (
            ("pan", *JOB, "--scale", "2"),
            "--direction is missing: Midjourney's own API requires that, and the provider's pages do not say",
        ),
        (("variation", *JOB, "--strength", "weak"), "--strength must be subtle (0) or strong (1)"),
        (("diffusion", "--prompt", "a {red,blue} sea"), "say --allow-permutations"),
        (("v8.1-t2i", "--param", "seed"), "--param seed: write NAME=VALUE"),
        (("v8.1-t2i", "--param", "a=1", "--param", "a=2"), "--param a: it is given twice"),
        (("diffusion",), "Missing option '--prompt'"),
        (("diffusion", "cat", "--ar", "3:2"), "--ar is one of Midjourney's flags, which go inside the quoted prompt"),
        (("diffusion", "--prompt", "cat", "--v=7"), "--v is one of Midjourney's flags"),
        (("diffusion", "a", "cat"), "'a' belongs to no option; the whole prompt goes in quotes"),
        (("diffusion", "--prompt", "a", "cat"), "'cat' belongs to no option; the whole prompt goes in quotes"),
        (("diffusion", "--foo", "cat"), "No such option '--foo'"),
        (("upscale", *JOB, "--type", "standard", "--ar", "3:2"), "No such option '--ar'"),
        (("imagine", "--prompt", "x"), "No such command 'imagine'. Did you mean 'diffusion'?"),
        (("Zoom_out",), "No such command 'Zoom_out'. Did you mean 'outpaint'?"),
    ],
)
def test_what_cannot_be_right_is_said_in_options_and_asks_nobody(
    run: Run, answers: Answers, line: tuple[str, ...], why: str
) -> None:
    refused = run("submit", *line)
    assert (refused.exit_code, refused.stdout, answers.seen) == (2, "", [])
    assert why in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_words_of_midjourneys_own_pages_are_taken(run: Run, answers: Answers) -> None:
    answers.then(202, task())
    assert run("submit", "upscale", *JOB, "--type", "Subtle").exit_code == 0
    assert sent(answers)["params"]["type"] in ("subtle", 0)


def test_what_is_probably_refused_is_sent_if_that_is_wanted(run: Run, answers: Answers) -> None:
    answers.then(202, task())
    assert run("submit", "pan", *JOB, "--direction", "left", "--scale", "9", "--anyway").exit_code == 0
    assert (sent(answers)["anyway"], sent(answers)["params"]["scale"]) == (True, 9.0)


def test_what_the_service_thinks_unlikely_names_the_option(run: Run, answers: Answers) -> None:
    problem = "midjourney_upscale probably cannot follow “a”: it was enlarged; if you know …, submit it `anyway`"
    answers.then(422, {"error": {"code": "unlikely", "message": problem, "field": "wait_for"}})
    refused = run("submit", "upscale", "--after", OTHER, "--image-no", "0", "--type", "standard")
    assert (refused.exit_code, refused.stderr.endswith("say --anyway\n")) == (1, True)


def test_a_hint_is_said_once_though_the_service_says_it_too(run: Run, answers: Answers) -> None:
    hint = (
        "the provider lists enhance but does not describe it, so it may refuse it; a task that it refuses costs nothing"
    )
    answers.then(202, replace(task(), warnings=(hint,)))
    assert run("submit", "enhance", *JOB).stderr == f"receiver: tip: {hint}\n"


# -- models that are not declared --


def test_an_unknown_model_is_sent_as_it_is_with_a_tip(run: Run, answers: Answers) -> None:
    answers.then(202, task())
    pairs = ("prompt=a sea", "count=2", 'box={"a": [1]}', "flag=true", 'number="2"', "none=")
    done = run("submit", "raw", "midjourney_shorten", *(it for pair in pairs for it in ("--param", pair)))
    assert (done.exit_code, done.stdout) == (0, f"{TASK}\n")
    assert "'midjourney_shorten' is not a model that receiver knows: it is sent unchecked" in done.stderr
    params = {"prompt": "a sea", "count": 2, "box": {"a": [1]}, "flag": True, "number": "2"}
    assert sent(answers) == {"model": "midjourney_shorten", "params": params, "anyway": True}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("outpaint",), "use `receiver submit outpaint`"),
        (("no model",), "cannot be a model's name"),
        (("any", "--param", "callback=https://a"), "the service sets the callback"),
    ],
)
def test_raw_refuses_what_it_is_not_for(run: Run, answers: Answers, args: tuple[str, ...], why: str) -> None:
    refused = run("submit", "raw", *args)
    assert (refused.exit_code, answers.seen, why in refused.stderr) == (2, [], True)
